"""Keeping a replica in sync in the background: one thread exchanges, a second one only waits for the server's hints.

An exchange is made at the start, when something was recorded, when a hint names a version that the replica has not,
when a stream of hints opens (what happened before is not told), and after a while in any case, for hints may be lost.
After a failure the pause is drawn from between nothing and a limit that doubles each time (full jitter), so that many
devices that lost the same server do not come back together; what is recorded meanwhile waits for that. Nothing here
raises: how it stands is what the replica's status says.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from client_sdk.application.live_ports import HintSource
from client_sdk.application.ports import System
from client_sdk.errors import ReplicaClosed, ServerProblem
from sync.kernel.errors import TallystickError

POLL_SECONDS: Final = 30.0
"""The longest pause between two exchanges without hints."""

LIVE_POLL_SECONDS: Final = 120.0
"""The longest pause between two exchanges while hints are heard."""

BACKOFF_SECONDS: Final = 1.0
BACKOFF_SECONDS_MAX: Final = 60.0
"""The limit of the pause after a failure: 1 s, then twice as long each time, at most a minute."""

BARRED_SECONDS: Final = 600.0
"""The longest pause while only a person can help: a device that is suspended, an app that is too old."""

BARRED: Final = frozenset(
    {"device_suspended", "device_revoked", "chain_forked", "old_copy", "history_altered", "upgrade_required"}
)
GRACE_SECONDS: Final = 2.0
"""How long a stop lets an exchange go on before it is cut; what it has not taken yet is fetched next time."""

CUT_SECONDS: Final = 3.0
"""How long a stop then waits for the threads to notice."""

HINTS_LOST_FAILURES: Final = 2
"""A stream that ends is opened again; when that fails, the replica polls."""

SYNC_THREAD, HINT_THREAD = "tallystick-sync", "tallystick-hints"
_JITTER_BYTES = 6
_JITTER_RANGE = 1 << 8 * _JITTER_BYTES
_log = logging.getLogger(__name__)


class KeepSyncing:
    """Two threads from `start` to `stop`; used once."""

    def __init__(self, *, sync: Callable[[], int], source: HintSource | None, system: System) -> None:
        self._sync = sync
        self._source = source
        self._system = system
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._heard = threading.Event()  # set when the server has answered: there is somebody to listen to
        self._hung_up = threading.Event()  # ends the pause of the thread of hints
        self._is_asked = False
        self._hinted = 0
        self._is_live = False
        self._failures = 0
        self._syncing = threading.Thread(target=self._keep_syncing, name=SYNC_THREAD, daemon=True)
        self._hearing = threading.Thread(target=self._keep_hearing, name=HINT_THREAD, daemon=True)

    def start(self) -> None:
        """Begin; the first exchange is made at once."""
        self._syncing.start()
        if self._source is not None:
            self._hearing.start()

    def stop(self) -> None:
        """End both threads, within `GRACE_SECONDS` and `CUT_SECONDS` whatever the network does."""
        self._stopping.set()
        self._heard.set()
        self._hung_up.set()
        self._wanted.set()
        self._cut(self._hearing)
        self._syncing.join(GRACE_SECONDS)
        self._cut(self._syncing)
        self._syncing.join(CUT_SECONDS)
        if self._hearing.ident is not None:
            self._hearing.join(CUT_SECONDS)

    def recorded(self) -> None:
        """Something is to be sent; after a failure it waits for the pause to end, and goes with the next exchange."""
        if not self._failures:
            self._ask()

    def _ask(self) -> None:
        self._is_asked = True
        self._wanted.set()

    def _cut(self, thread: threading.Thread) -> None:
        if self._source is not None and thread.ident is not None and thread.is_alive():
            self._source.interrupt(thread.ident)

    def _keep_syncing(self) -> None:
        while not self._stopping.is_set():
            self._wanted.clear()
            self._is_asked = False
            version, pause_seconds = self._sync_once()
            if version is None and not self._stopping.is_set():
                self._wanted.clear()  # whatever was wanted meanwhile has just failed
            if pause_seconds is None or self._is_pause_over(version, pause_seconds):
                return

    def _sync_once(self) -> tuple[int | None, float | None]:
        """The version that is reached now, None after a failure; and the pause, None when there is nothing to keep."""
        try:
            version = self._sync()
        except ReplicaClosed:
            return None, None
        except Exception as problem:  # noqa: BLE001  nobody is there to hear it; the status says what there is to know
            if not isinstance(problem, TallystickError):
                _log.exception("an exchange in the background failed")
            self._failures += 1
            return None, self._pause_after(problem)
        self._failures = 0
        self._heard.set()
        longest = LIVE_POLL_SECONDS if self._is_live else POLL_SECONDS
        return version, longest / 2 + self._jitter(longest / 2)

    def _is_pause_over(self, version: int | None, pause_seconds: float) -> bool:
        """Wait until there is reason for another exchange; True when there is none because of a stop."""
        while not self._stopping.is_set() and self._system.wait(self._wanted, pause_seconds):
            self._wanted.clear()
            if version is None or self._is_asked or self._hinted > version:
                break
        return self._stopping.is_set()

    def _pause_after(self, problem: Exception) -> float:
        if isinstance(problem, TallystickError) and problem.code in BARRED:
            return BARRED_SECONDS / 2 + self._jitter(BARRED_SECONDS / 2)
        told = problem.retry_after_seconds if isinstance(problem, ServerProblem) else None
        return (told or 0.0) + self._backoff(self._failures)

    def _backoff(self, failures: int) -> float:
        exponent = min(failures - 1, 16)
        return self._jitter(min(BACKOFF_SECONDS * 2.0**exponent, BACKOFF_SECONDS_MAX))

    def _jitter(self, longest_seconds: float) -> float:
        """Anything from nothing to so much, all alike."""
        return longest_seconds * int.from_bytes(self._system.random(_JITTER_BYTES)) / _JITTER_RANGE

    def _keep_hearing(self) -> None:
        """Listen while exchanges succeed; while they fail there is nobody to listen to."""
        failures = 0
        while not self._stopping.is_set():
            self._heard.clear()
            told_seconds = 0.0
            try:
                was_live = self._hear()
            except Exception as problem:  # noqa: BLE001  as above; without hints the other thread polls
                if not isinstance(problem, TallystickError):
                    _log.exception("listening for hints failed")
                was_live = self._is_live
                told_seconds = (problem.retry_after_seconds or 0.0) if isinstance(problem, ServerProblem) else 0.0
            self._is_live = False
            failures = 1 if was_live else failures + 1
            if self._stopping.is_set():
                return
            if failures == HINTS_LOST_FAILURES:
                self._ask()  # the pause under way was meant for a device that hears hints
            self._system.wait(self._hung_up, told_seconds + self._backoff(failures))
            if self._failures:
                self._system.wait(self._heard, BARRED_SECONDS)

    def _hear(self) -> bool:
        """Pass hints on until the stream ends; whether it was open at all."""
        assert self._source is not None
        for version in self._source.hints():
            self._hinted = max(self._hinted, version)
            if not self._is_live:
                self._is_live = True
                self._ask()
            else:
                self._wanted.set()
            if self._stopping.is_set():
                break
        return self._is_live
