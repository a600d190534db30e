"""The page of faults and the tests of faults are about the same things; every page's tests are there anyway."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "faults.md").read_text(encoding="utf-8")
LONG = "pytestmark = pytest.mark.long"


def found_in(path: Path) -> list[str]:
    found = re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [f"{path.relative_to(ROOT).as_posix()}::{name}" for name in found]


def test_every_fault_has_a_test_and_every_test_of_the_folder_a_fault() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and line != "| fault | test |"]
    tests = [test for path in sorted((ROOT / "tests" / "faults").glob("test_*.py")) for test in found_in(path)]

    assert len(rows) > 40
    assert [row for row in rows if "`tests/" not in row] == []
    assert [test for test in tests if f"`{test}`" not in PAGE] == []


def test_what_is_long_is_said_to_be() -> None:
    long = {path for path in (ROOT / "tests").rglob("test_*.py") if LONG in path.read_text(encoding="utf-8")}
    named = {test for path in long - {Path(__file__)} for test in found_in(path)}

    assert named
    assert named == set(re.findall(r"`(tests/\S+)` \(\*long\*\)", PAGE))
