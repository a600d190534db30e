"""The house is tidy: sizes, docstrings, dead modules, machine paths, and tests that can fail.

The checks are in `tests.support.tidy`; here they are held against the repository, and each against a planted fault.
"""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

from server.cli.app import MODULES
from tests.support import tidy

ROOT = Path(__file__).resolve().parents[2]
CODE = ("sync/", "server/", "client_sdk/", "loadtests/", "tests/")
SHIPPED = ("sync/", "server/", "client_sdk/", "migrations/", "loadtests/")

ENTRY_POINTS = {
    "server.main": "the application that an ASGI server is given by name",
    "server.worker": "started by name in a container",
    "server.adapters.memory_outbox": "the outbox in memory, as above",
    "server.adapters.memory_blobs": "files in memory, as above",
    "server.adapters.memory_hints": "hints in memory, as above",
    "server.adapters.memory_towns": "towns in memory, as above",
    "server.adapters.memory_evidence": "what `verify` reads of towns in memory, as above",
    "server.adapters.memory_statements": "no statements kept, as above",
    "server.adapters.memory": "every port in memory, for people who embed or test the server",
    "client_sdk.adapters.memory": "every port in memory, for people who embed or test the SDK",
    "sync.modules.reference": "makes the reference pages, for `make docs`",
}
"""Modules that only the world outside calls, each with its reason; `[project.scripts]` is read from pyproject.toml."""

LONG_FUNCTION = '"""D."""\n\ndef f():\n' + "    x = 1\n" * tidy.FUNCTION_LINES_MAX
FULL_FUNCTION = '"""D."""\n\ndef f():\n' + "    x = 1\n" * (tidy.FUNCTION_LINES_MAX - 1)

PLANTED_FAULTS: list[tuple[tidy.Check, str, int]] = [
    (tidy.long_functions, LONG_FUNCTION, 3),
    (tidy.long_functions, LONG_FUNCTION.replace("def", "async def"), 3),
    (tidy.long_modules, "x = 1\n" * (tidy.MODULE_LINES_MAX + 1), tidy.MODULE_LINES_MAX + 1),
    (tidy.silent_modules, "x = 1\n", 1),
    (tidy.silent_modules, "", 1),
    (tidy.machine_paths, "fine\ncd /" + "root/project\n", 2),
    (tidy.machine_paths, "DATA = '/" + "work/shared'\n", 1),
    (tidy.machine_paths, "find-links /" + "opt/wheels\n", 1),
    (tidy.package_indexes, "--index-url https://" + "pypi" + ".org/simple\n", 1),
    (tidy.package_indexes, "fine\nfine\nfiles." + "pythonhosted" + ".org\n", 3),
    (tidy.dodging_tests, "import time\ntime.sleep(1)\n", 2),
    (tidy.dodging_tests, "from time import sleep\n", 1),
    (tidy.dodging_tests, "import pytest\npytest.skip('later')\n", 2),
    (tidy.dodging_tests, "import pytest\n@pytest.mark.skipif(True)\ndef test_a(): ...\n", 2),
    (tidy.dodging_tests, "import pytest\n@pytest.mark.xfail\ndef test_a(): ...\n", 2),
    (tidy.toothless_tests, "def test_a():\n    print('a')\n", 1),
    (tidy.toothless_tests, "class TestA:\n    async def test_a(self):\n        await a()\n", 2),
]

CLEAN: list[tuple[tidy.Check, str]] = [
    (tidy.long_functions, FULL_FUNCTION),
    (tidy.long_modules, "x = 1\n" * tidy.MODULE_LINES_MAX),
    (tidy.silent_modules, '"""For this."""\n'),
    (tidy.machine_paths, "https://sync.example/work/shared and ./work/shared and /tmp and ~/.tallystick\n"),
    (tidy.package_indexes, "pip install tallystick\n"),
    (tidy.dodging_tests, "import time\ntime.monotonic()\nclock.sleep(1)\nskip = 1\n"),
    (tidy.toothless_tests, "def test_a():\n    assert a\ndef helper():\n    pass\n"),
    (tidy.toothless_tests, "def test_a():\n    with pytest.raises(ValueError):\n        a()\n"),
    (tidy.toothless_tests, "def test_a():\n    check_books(a)\ndef test_b():\n    world.expect_quiet()\n"),
]


@functools.cache
def texts() -> dict[str, str]:
    """Every text file of the repository, tracked or about to be, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    found = {}
    for path in sorted(filter(None, listed.split("\0"))):
        if not (ROOT / path).is_file():
            continue  # removed from the tree, not yet from the index
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            found[path] = content.decode(errors="replace")
    return found


def python_of(folders: tuple[str, ...]) -> dict[str, str]:
    """The Python files below the folders."""
    return {path: text for path, text in texts().items() if path.startswith(folders) and path.endswith(".py")}


def complaints_of(check: tidy.Check, files: dict[str, str]) -> str:
    """What the check has to say about the files, a line each."""
    return "\n".join(complaint for path, text in files.items() for complaint in check(path, text))


def test_the_repository_was_read() -> None:
    assert {"pyproject.toml", "tests/house/test_tidy.py", "sync/__init__.py"} <= texts().keys()


@pytest.mark.parametrize("check", [tidy.long_functions, tidy.long_modules, tidy.silent_modules])
def test_code_fits_on_a_screen_tells_one_story_and_says_which(check: tidy.Check) -> None:
    assert complaints_of(check, python_of(CODE)) == ""


@pytest.mark.parametrize("check", [tidy.machine_paths, tidy.package_indexes])
def test_no_file_knows_the_machine_it_was_written_on(check: tidy.Check) -> None:
    assert complaints_of(check, texts()) == ""


@pytest.mark.parametrize("check", [tidy.dodging_tests, tidy.toothless_tests])
def test_every_test_runs_and_can_fail(check: tidy.Check) -> None:
    assert complaints_of(check, python_of(("tests/",))) == ""


def test_no_module_is_dead() -> None:
    commands = [f"server.cli.{module}" for module in MODULES]
    entry_points = " ".join([*ENTRY_POINTS, *commands, texts()["pyproject.toml"].partition("[project.scripts]")[2]])

    assert "\n".join(tidy.dead_modules(python_of(SHIPPED), entry_points)) == ""


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert "\n## [Unreleased]\n" in texts()["CHANGELOG.md"]


@pytest.mark.parametrize(("check", "text", "line"), PLANTED_FAULTS)
def test_a_planted_fault_is_found_at_its_line(check: tidy.Check, text: str, line: int) -> None:
    assert [complaint.rsplit(": ")[0] for complaint in check("some/file.py", text)] == [f"some/file.py:{line}"]


@pytest.mark.parametrize(("check", "text"), CLEAN)
def test_clean_text_is_left_in_peace(check: tidy.Check, text: str) -> None:
    assert check("some/file.py", text) == []


def test_a_module_that_nobody_mentions_is_dead() -> None:
    sources = {
        "server/__init__.py": "",
        "server/main.py": "from server import used\nimport server.also_used\nenqueue('server.jobs.relay.run')\n",
        "server/used.py": "from .relative import name\n",
        "server/also_used.py": "",
        "server/relative.py": "",
        "server/jobs/relay.py": "",
        "server/dead.py": "import server.dead\n",
        "migrations/env.py": "",
    }

    assert tidy.dead_modules(sources, "server.main:app") == ["server/dead.py:1: nothing imports server.dead"]
