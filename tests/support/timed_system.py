"""The SDK's `System` for threads that wait: a wait ends when its event is set, or when the test lets its time pass."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from queue import Queue

from client_sdk.adapters.system import RealSystem
from tests.support.still_system import StillSystem

PATIENCE_SECONDS = 20.0
"""How long a test waits for a thread before it fails."""


@dataclass(kw_only=True)
class Wait:
    """A thread that waits for an event, at most so many seconds."""

    event: threading.Event
    seconds: float
    is_passed: bool = False

    def let_pass(self) -> None:
        """The time is over, and nothing has happened."""
        self.is_passed = True
        self.event.set()


class Waits:
    """`next_wait` is the next wait of a thread, by the thread's name."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait as the test wants it."""
        wait = Wait(event=event, seconds=seconds)
        self._of(threading.current_thread().name).put(wait)
        event.wait()
        if wait.is_passed:
            event.clear()
        return not wait.is_passed

    def next_wait(self, thread_name: str) -> Wait:
        """The next time that this thread waits."""
        return self._of(thread_name).get(timeout=PATIENCE_SECONDS)

    def _of(self, thread_name: str) -> Queue[Wait]:
        """One queue for a name, whichever thread asks first: what one of two had put would be lost with the other."""
        waits: dict[str, Queue[Wait]] = vars(self).setdefault("_waits", {})
        return waits.setdefault(thread_name, Queue())


class TimedSystem(Waits, StillSystem):
    """A machine whose clock stands still, where waits are the test's."""


class TimedRealSystem(Waits, RealSystem):
    """This machine, where waits are the test's."""
