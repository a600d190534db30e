"""Every failpoint that the source names is one at which a test kills a real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.failpoints import PASSES_ON, ROOT, SIDES, failpoints, killed_in, named_in, of_side

KILLING = """
@pytest.mark.parametrize("failpoint", failpoints("server", "apply"))
def test_a(failpoint):
    assert run(failpoint) == KILLED
"""


def sources(*folders: str) -> dict[str, str]:
    paths = (path for folder in folders for path in Path(ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_a_process_is_killed_at_every_failpoint() -> None:
    killed = {one for text in sources("tests").values() for one in killed_in(text)}

    assert killed == {(side, name) for side in SIDES for name in of_side(side)}


def test_every_failpoint_has_a_name_of_its_own_that_is_written_where_it_is() -> None:
    named = [name for path, text in sources(*SIDES).items() if path not in PASSES_ON for name in named_in(text)]

    assert None not in named
    assert len(named) == len(set(named))


def test_a_failpoint_is_found_by_its_story_and_by_its_name() -> None:
    assert failpoints("server", "apply") == ["apply.after_commit", "apply.before_commit"]
    assert failpoints("server", "apply.after_commit", "enrol", but=("enrol.after_take",)) == [
        "apply.after_commit",
        "enrol.after_author",
    ]


@pytest.mark.parametrize(("wanted", "but"), [("aply", ()), ("apply", ("apply.never",))])
def test_a_failpoint_that_is_not_there_is_missed(wanted: str, but: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="has no"):
        failpoints("server", wanted, but=but)


def test_a_test_that_kills_counts() -> None:
    killed = [("server", "apply.after_commit"), ("server", "apply.before_commit")]

    assert list(killed_in(KILLING)) == killed
    assert list(killed_in(KILLING.replace('"apply"', '"apply.after_commit"'))) == killed[:1]


@pytest.mark.parametrize(
    ("before", "after"), [("== KILLED", "!= 0"), ("def test_a", "def a"), ('"failpoint",', '"step",')]
)
def test_a_test_that_does_not_kill_does_not_count(before: str, after: str) -> None:
    assert list(killed_in(KILLING.replace(before, after))) == []


def test_a_list_of_ones_own_does_not_count() -> None:
    with pytest.raises(AssertionError, match="come from the source"):
        list(killed_in(KILLING.replace('failpoints("server", "apply")', 'list("ab")')))


def test_a_name_that_is_made_at_run_time_is_seen() -> None:
    assert list(named_in("system.reached(f'apply.{step}')\nreached('a.b')\nhead.reached(acked)")) == [
        None,
        "a.b",
    ]
