"""A real worker or scheduler process, waited for by what it logs."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

SECONDS_MAX = 60
"""A process that says nothing for so long is killed, and whoever waits for a line of it fails."""


class WorkerProcess:
    """What a test may do with a worker: wait for an event in its log, stop it, wait for its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.is_given_up = False
        self.lines: list[bytes] = []

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next line of the log with this event; fails the test when the process ends before."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            entry: dict[str, Any] = orjson.loads(line) if line.startswith(b"{") else {}
            if entry.get("event") == event:
                return entry
        raise AssertionError(f"the process ended without {event}:\n" + b"".join(self.lines).decode())

    def give_up(self) -> None:
        """Kill a process that says nothing."""
        self.is_given_up = True
        self._process.kill()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; the exit status. Fails when the worker needs more than the 10 seconds it promises."""
        self._process.send_signal(number)
        return self._process.wait(timeout=10)

    def wait(self) -> int:
        """The exit status, when it ends by itself; fails the test when it does not."""
        status = self._process.wait()
        assert not self.is_given_up, "the process did not end"
        return status


@contextmanager
def worker_process(
    data_dir: Path,
    database_url: str,
    redis_url: str,
    failpoint: str = "",
    *,
    program: str = "worker",
    more: Mapping[str, str] | None = None,
) -> Iterator[WorkerProcess]:
    """A started process of that command, with `more` settings, killed at the end if need be."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TALLYSTICK_DATA_DIR": str(data_dir),
        "TALLYSTICK_FAILPOINT": failpoint,
        **(more or {}),
    }
    command = [sys.executable, "-m", "server.cli", program]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    running = WorkerProcess(process)
    guard = threading.Timer(SECONDS_MAX, running.give_up)
    guard.start()
    try:
        with process:
            yield running
            process.kill()
    finally:
        process.kill()
        guard.cancel()
