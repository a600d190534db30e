"""The stack: one per data directory, killed and restarted piece by piece, and gone when its starter is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.main import HEAD_BYTES_MAX
from server.stack import RESTARTS_MAX, Stack, StackBusy, StackFailed, StackStopped, read_note
from tests.support.stack import scratch_directory

CRASHING_STARTER = """
import json, os, signal, sys
from pathlib import Path
from server.stack import Stack
stack = Stack.start(Path(sys.argv[1]))
print(json.dumps({"url": stack.url, "database": stack.database_url}), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with scratch_directory() as directory, Stack.start(directory) as running:
        yield running


def answer_of(url: str) -> int:
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:  # noqa: S310 - our own http:// URL
        return int(answer.status)


def test_a_started_stack_can_serve(stack: Stack) -> None:
    assert answer_of(stack.url) == 200


def test_a_request_whose_head_does_not_end_is_cut(stack: Stack) -> None:
    port = int(stack.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES_MAX)
        received = b""
        while piece := connection.recv(65536):
            received += piece

    assert received.startswith(b"HTTP/1.1 400 ")


def test_a_killed_api_refuses_and_a_restarted_one_serves_at_the_same_address(stack: Stack) -> None:
    url, killed = stack.url, stack.api_pid

    stack.kill_api()

    with pytest.raises(urllib.error.URLError, match="refused"):
        answer_of(url)
    stack.restart_api()
    assert (answer_of(url), stack.url, stack.api_pid != killed) == (200, url, True)


def test_what_has_fallen_is_started_again(stack: Stack) -> None:
    os.kill(stack.worker_pid, signal.SIGKILL)
    stack._worker._process.wait()  # type: ignore[union-attr]
    os.kill(stack._redis.pid, signal.SIGKILL)  # type: ignore[union-attr]
    os.waitid(os.P_PID, stack._redis.pid, os.WEXITED | os.WNOWAIT)  # type: ignore[union-attr]

    assert stack.restart_fallen() == ["Redis", "worker"]
    assert stack.restart_fallen() == []
    assert answer_of(stack.url) == 200


def test_a_child_that_falls_again_and_again_is_given_up(stack: Stack) -> None:
    stack._restarts.clear()
    for _ in range(RESTARTS_MAX):
        stack._worker.kill()  # type: ignore[union-attr]
        assert stack.restart_fallen() == ["worker"]
    stack._worker.kill()  # type: ignore[union-attr]

    with pytest.raises(StackFailed, match="worker has ended again after 5 restarts"):
        stack.restart_fallen()


def test_a_second_stack_on_the_same_data_is_told_where_the_first_is(stack: Stack) -> None:
    with pytest.raises(StackBusy, match=f"already up at {stack.url} \\(pid {os.getpid()}\\)"):
        Stack.start(stack.data_dir)


def test_the_note_for_other_commands_is_for_this_account_only(stack: Stack) -> None:
    note = read_note(stack.data_dir)

    assert note == {"url": stack.url, "pid": os.getpid(), "environment": stack.settings_environment}
    assert (stack.data_dir / "up.json").stat().st_mode & 0o777 == 0o600


def test_a_stop_during_the_start_leaves_nothing() -> None:
    steps: list[str] = []

    with scratch_directory() as directory:
        with pytest.raises(StackStopped):
            Stack.start(directory, progress=steps.append, is_stopping=lambda: len(steps) > 1)

        assert (steps, read_note(directory)) == (["Starting PostgreSQL", "Starting Redis"], None)


def test_nothing_outlives_a_killed_starter_and_the_next_start_serves_the_same_data() -> None:
    with scratch_directory() as directory:
        run = subprocess.run(
            [sys.executable, "-c", CRASHING_STARTER, directory], capture_output=True, check=False, text=True
        )
        assert run.returncode == -signal.SIGKILL, run.stderr
        left = json.loads(run.stdout)

        # It waits for the locks and the port, which are free only when every process before it has gone.
        with Stack.start(directory, port=int(left["url"].rpartition(":")[2])) as stack:
            assert answer_of(left["url"]) == 200
            password = left["database"].split("@")[0]
            assert stack.database_url.split("@")[0] == password
        assert read_note(Path(directory)) is None
