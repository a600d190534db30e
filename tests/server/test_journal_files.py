"""Files of exported journals: new, for their owner alone, and whole or not there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from server.cli.journal_files import FileThere, new_file, read_lines


@pytest.mark.parametrize("name", ["town.zst", "town.gz"])
def test_a_file_holds_its_lines_and_nobody_else_may_read_it(tmp_path: Path, name: str) -> None:
    with new_file(tmp_path / name) as write:
        write(b"one")
        write(b"two")

    assert list(read_lines(tmp_path / name)) == [b"one", b"two"]
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_made_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "town.zst"

    def export() -> None:
        with new_file(path) as write:
            write(b"one")
            path.write_text("somebody else's")

    with pytest.raises(FileThere):
        export()

    assert path.read_text() == "somebody else's"
    assert [one.name for one in tmp_path.iterdir()] == ["town.zst"]


def test_what_stands_beside_it_is_not_touched(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "town.zst"
    victim.write_text("mine")
    (tmp_path / "town.zst.part").symlink_to(victim)
    with new_file(path) as write:
        write(b"one")

    assert (victim.read_text(), path.is_symlink()) == ("mine", False)


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def export() -> None:
        with new_file(tmp_path / "town.zst") as write:
            write(b"one")
            raise KeyError

    with pytest.raises(KeyError):
        export()

    assert list(tmp_path.iterdir()) == []
