"""The tutorial is done, block by block, against a server that `tallystick up` has started."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.support.pages import Block, PageRun, blocks_of, fits
from tests.support.stack import scratch_directory

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/tutorial/first-app.md"
PAGE_ADDRESS = "http://127.0.0.1:8000"
TALLYSTICK = [sys.executable, "-m", "server.cli"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a whole system with sample data, on the data directory that every command here finds."""
    with scratch_directory() as directory:
        monkeypatch.setenv("TALLYSTICK_DATA_DIR", str(directory / "data"))
        for name in ("DATABASE_URL", "REDIS_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        ready = directory / "ready.json"
        command = [*TALLYSTICK, "up", "--port", "0", "--ready-file", str(ready)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                up = any("Tallystick is up" in line for line in process.stdout)
                assert up, process.wait()
                yield str(orjson.loads(ready.read_bytes())["url"])
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate()


def run_command(line: str) -> str:
    """What a command of a shell block prints; the test fails when it does not end well."""
    program, *arguments = shlex.split(line)
    assert program == "tallystick", line
    done = subprocess.run(
        [*TALLYSTICK, *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tutorial_works_as_it_is_written(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = PageRun(PAGE, shell=run_command, replace={PAGE_ADDRESS: server})
    blocks = list(blocks_of((ROOT / PAGE).read_text(encoding="utf-8")))
    told = {}
    try:
        for block in blocks:
            printed = run.do(block)
            if block.shown is not None and block.language == "python":
                told[block.line] = (block.shown, printed)
    finally:
        run.close()

    assert len(told) >= 6
    assert [one for one in told.items() if not fits(*one[1])] == []


@pytest.mark.parametrize(
    ("shown", "printed", "is_same"), [("a … c\n", "a b c", True), ("a", "a b", False), ("a.c", "abc", False)]
)
def test_what_is_shown_is_what_is_printed_but_for_the_dots(shown: str, printed: str, is_same: bool) -> None:  # noqa: FBT001
    assert fits(shown, printed) is is_same


def test_a_text_block_right_behind_a_block_is_its_output() -> None:
    page = "one\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\nwords\n\n```text\nalone\n```\n"

    assert list(blocks_of(page)) == [
        Block(language="python", text="print(1)\n", line=4, shown="1\n"),
        Block(language="text", text="1\n", line=8, shown=None),
        Block(language="text", text="alone\n", line=14, shown=None),
    ]
