"""The page for auditors is done, block by block, after a day of real devices; what was altered is told."""

from __future__ import annotations

import gzip
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
import pytest
from backports import zstd
from typer.testing import CliRunner, Result

from server.cli.app import whole_app
from sync.modules.billing import TakePayment
from tests.support.pages import blocks_of
from tests.support.site import TOWN, Site, running_site, tallystick

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/hand-the-journal-to-an-auditor.md").read_text(encoding="utf-8")
LIST_KEYS, EXPORT, CHECK = (block.text for block in blocks_of(PAGE) if block.language == "sh")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with the `tallystick` of this tree."""
    path = tmp_path / "bin" / "tallystick"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m server.cli "$@"\n')
    path.chmod(0o755)
    return path.parent


def do(block: str, program: Path, names: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a block of the page in an environment without a server but for `names`."""
    environment = {"PATH": f"{program}:/usr/bin:/bin", "HOME": str(program), "COLUMNS": "200", **names}
    return subprocess.run(
        ["sh", "-euc", block], env=environment, cwd=program, check=False, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def town(site: Site) -> Site:
    """A tablet has received goods; a driver has taken cash twice, so that there are running totals."""
    site.record_and_sync(site.tablet(), 2)
    books = site.office.books
    driver = books.add_user(TOWN, "Ada", "driver")
    path = site.tablet().with_name("van.db")
    with site.office.enrol(TOWN, path, "driver", user=driver) as van:
        van.sync()
        with van.acting_as(driver):
            for amount in ("12.50", "0.25"):
                van.record(TakePayment(order=books.new_id(), amount=amount, currency="GBP"))
        van.sync()
    return site


@pytest.mark.parametrize("name", ["town.ndjson.zst", "town.ndjson.gz"])
def test_the_page_proves_a_town_to_somebody_who_has_nothing_but_the_file(
    town: Site, program: Path, tmp_path: Path, name: str
) -> None:
    names = {"SERVER_DIR": str(town.stack.data_dir), "TOWN": TOWN, "FILE": str(tmp_path / name)}

    listed = do(LIST_KEYS, program, names)
    assert do(EXPORT, program, names).returncode == 0
    again = do(EXPORT, program, names)
    key = listed.stdout.split(" signs ")[1].split()[0]
    checked = do(CHECK, program, {"FILE": names["FILE"], "KEY": key})

    assert Path(names["FILE"]).stat().st_mode & 0o777 == 0o600
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert checked.returncode == 0, checked.stdout
    assert "nothing is altered, and nothing is missing" in checked.stdout


def written(town: Site, path: Path) -> list[bytes]:
    """The lines of an export, newlines and all."""
    assert tallystick(town, "journal", "export", "--town", TOWN, "--out", str(path)).exit_code == 0
    return zstd.decompress(path.read_bytes()).splitlines(keepends=True)


def check(path: Path, *options: str) -> Result:
    """What the auditor's command comes to, without any server."""
    return CliRunner().invoke(whole_app(), ["journal", "check", str(path), *options])


def test_an_altered_file_is_told_with_its_line_and_what_is_wrong_there(town: Site, tmp_path: Path) -> None:
    lines = written(town, tmp_path / "whole.zst")
    place = next(at for at, line in enumerate(lines) if b"payment.take" in line)
    lines[place] = lines[place].replace(b"12.50", b"10.50", 1)
    altered = tmp_path / "altered.gz"
    altered.write_bytes(gzip.compress(b"".join(lines)))

    shown, told = check(altered), orjson.loads(check(altered, "--json").stdout)

    assert shown.exit_code == 1
    assert f"line {place + 1}" in shown.stdout
    assert "No --key was given" in shown.stdout
    assert (told["good"], told["is_key_given"]) == (False, False)
    what = [one["what"] for one in told["findings"]]
    assert "its bytes are not those that journal version" in what[0]
    assert "its running totals" in what[1]


def test_a_file_that_is_cut_or_no_journal_is_one_line_and_exit_1(town: Site, tmp_path: Path) -> None:
    written(town, tmp_path / "whole.zst")
    for name, content in (
        ("cut.zst", (tmp_path / "whole.zst").read_bytes()[:-20]),
        ("cut.gz", gzip.compress(b"{}" * 9_999)[:-20]),
        ("altered.gz", gzip.compress(bytes(9_999))[:-8] + bytes(8)),
        ("plain", b"{}"),
        ("empty", b""),
        ("other.gz", gzip.compress(b"{}\n")),
        ("nothing.gz", gzip.compress(b"")),
    ):
        (tmp_path / name).write_bytes(content)

        result = check(tmp_path / name)

        assert (result.exit_code, result.stdout) == (1, ""), name
        assert len(result.stderr.splitlines()) == 1
