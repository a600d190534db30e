"""A child process with a log of its own and a guard, so that it ends when its starter does, however that ends."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from server.supervised import GUARD_SCRIPT, LOG_LINES_SHOWN_MAX


class Child:
    """One program that is started, watched, killed and started again; made without starting it.

    The file descriptor `lock`, if any, is handed down to it, so that its lock is held as long as the program lives.
    """

    def __init__(self, *, name: str, command: Sequence[str], log_path: Path, lock: int | None = None) -> None:
        self.name = name
        self._command = command
        self._log_path = log_path
        self._lock = lock
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; only while it has been started and not ended."""
        assert self._process is not None, self.name
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it, or start it again after it has ended. A session of its own keeps Ctrl-C from it."""
        self._dismiss_guard()
        self._log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            self._log_start = os.fstat(log.fileno()).st_size
            self._process = subprocess.Popen(  # noqa: S603 - the commands are built in server.stack
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                pass_fds=() if self._lock is None else (self._lock,),
            )
        guard = ["/bin/sh", "-c", GUARD_SCRIPT, "tallystick-guard", "TERM", str(self._process.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - as above

    def ask_to_stop(self) -> None:
        """Send SIGTERM and do not wait."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic seconds), then kill it."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()
        self._process = None
        self._dismiss_guard()

    def log_end(self) -> str:
        """The last lines it has printed since its start, for a person."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN_MAX:]
        return "\n".join([f"the end of {self._log_path}:", *lines])

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            with suppress(BrokenPipeError):  # somebody ended the guard before us
                self._guard.communicate(b"farewell\n")
            self._guard = None


def has_ended(pid: int) -> bool:
    """Whether this child of ours has ended; it is left to its owner to collect it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
