"""Time that moves when everybody waits: an event loop without a clock, and people who run on it as greenlets.

Server code runs as tasks of this loop, client code, which blocks, as greenlets beside them; both take turns where they
wait and nowhere else. Callbacks run in the order in which they were asked for, or in a drawn order; timers by their
time, drawn when equal. Nothing here reads a clock, so a seed decides everything.

A process that has died never runs again: its callbacks are dropped, whatever they are. Nothing of it is unwound, just
as nothing is when the power goes.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from greenlet import getcurrent, greenlet

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

START_MS = 1_795_248_000_000
"""When a world begins, in milliseconds since 1970."""

STEPS_MAX = 200_000
"""Callbacks in one world; more means that something goes in circles."""


class Mortal:
    """Something that runs on the loop and may die."""

    is_alive = True


RUNS_IN: ContextVar[Mortal | None] = ContextVar("tests_simulation_runs_in", default=None)
"""Whose code this is; tasks and callbacks inherit it."""


class Stuck(AssertionError):
    """The world goes in circles, or waits for something that never comes."""


class Killed(BaseException):
    """Thrown into client code where it waits when its device dies; nobody may catch it."""


class SimLoop(asyncio.BaseEventLoop):
    """The loop of one world. `tick_seconds` pass whenever somebody looks at the time: thinking takes time."""

    def __init__(self, random: Random, *, tick_seconds: float = 0.0, is_shuffled: bool = False) -> None:
        super().__init__()
        self._random = random
        self._tick_seconds = tick_seconds
        self._is_shuffled = is_shuffled
        self._now = 0.0
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.steps = 0
        self.faults: list[BaseException] = []

    def time(self) -> float:
        """Seconds since the world began."""
        self._now += self._tick_seconds
        return self._now

    @property
    def now(self) -> float:
        """The same, without looking at the clock."""
        return self._now

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        """As any loop."""
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As any loop."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As any loop; equal times in a drawn order."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._random.random(), self._made, handle))
        return handle

    def create_task(
        self,
        coro: Generator[Any, None, Result] | Coroutine[Any, Any, Result],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[Result]:
        """As any loop, and remembered."""
        task: asyncio.Task[Result] = super().create_task(coro, name=name or "task", context=context)
        self._tasks.append(task)
        return task

    def run_in_executor(
        self, executor: object, func: Callable[[*Arguments], Result], *args: *Arguments
    ) -> asyncio.Future[Result]:
        """At once: there are no other threads in a world."""
        del executor
        done: asyncio.Future[Result] = self.create_future()
        done.set_result(func(*args))
        return done

    def bury(self) -> None:
        """Close what was left half done, so that nothing of it is unwound at another time."""
        for task in self._tasks:
            if not task.done():
                coroutine = task.get_coro()
                assert coroutine is not None
                coroutine.close()
        self._tasks.clear()
        self._soon.clear()
        self._timers.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong where nobody was listening; the world looks at it."""
        fault = context.get("exception")
        if isinstance(fault, Exception):
            self.faults.append(fault)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def run_while(self, is_wanted: Callable[[], bool]) -> bool:
        """Go on as long as this is so; whether there was anything left to do."""
        while is_wanted():
            handle = self._next()
            if handle is None:
                return False
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise Stuck(f"{STEPS_MAX} steps and no end")
            if not handle.cancelled() and _is_of_living(handle):
                handle._run()
        return True

    def _next(self) -> asyncio.Handle | None:
        if self._soon:
            if self._is_shuffled and len(self._soon) > 1:
                self._soon.rotate(-self._random.randrange(len(self._soon)))
            return self._soon.popleft()
        if not self._timers:
            return None
        when, _, _, handle = heapq.heappop(self._timers)
        self._now = max(self._now, when)
        return handle


@contextmanager
def using(loop: SimLoop) -> Iterator[SimLoop]:
    """The loop is the running one of this thread until the block ends."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield loop
    finally:
        asyncio._set_running_loop(before)
        loop.close()


def _is_of_living(handle: asyncio.Handle) -> bool:
    owner = handle._context.get(RUNS_IN)  # type: ignore[attr-defined]
    return owner is None or owner.is_alive


class Actors:
    """Whoever runs blocking code; `loop` gives them their turns."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._hub = getcurrent()
        self._context = Context()  # of no process: who waits for one that dies must hear of it
        self.faults: list[BaseException] = []

    def start(self, work: Callable[[], None], *, after_seconds: float = 0.0) -> Actor:
        """Have this done from then on."""
        actor = Actor(self, work)
        self._loop.call_later(after_seconds, actor.wake, context=self._context)
        return actor

    def pause(self, seconds: float) -> None:
        """Wait; only for code of an actor."""
        self._loop.call_later(seconds, _current().wake, context=self._context)
        self._hub.switch()

    def wait(self, subscribe: Callable[[Callable[[], None]], None]) -> None:
        """Wait until what is handed to `subscribe` is called; once is enough, more does no harm."""
        actor, is_over = _current(), False

        def wake() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._loop.call_soon(actor.wake, context=self._context)

        subscribe(wake)
        self._hub.switch()

    def end_soon(self, actor: Actor) -> None:
        """End an actor at the next turn."""
        self._loop.call_soon(actor.end, context=self._context)


class Actor(greenlet):  # type: ignore[misc]  # the library ships no types
    """One thread of blocking code."""

    def __init__(self, actors: Actors, work: Callable[[], None]) -> None:
        super().__init__(parent=actors._hub)
        self._actors = actors
        self._work = work
        self.is_over = False

    def run(self) -> None:
        """Do the work; what it raises is kept."""
        try:
            self._work()
        except Killed:
            pass
        except Exception as fault:  # noqa: BLE001  the world looks at it
            self._actors.faults.append(fault)
        finally:
            self.is_over = True

    def wake(self) -> None:
        """Go on, unless it is over."""
        if not self.is_over:
            self.switch()

    def end_soon(self) -> None:
        """End it where it waits; if it is the one that runs now, it ends itself."""
        self._actors.end_soon(self)

    def end(self) -> None:
        """As if the power went where it waits."""
        if self.is_over:
            return
        self.is_over = True
        if bool(self):  # it has begun
            self.throw(Killed)


def _current() -> Actor:
    actor = getcurrent()
    assert isinstance(actor, Actor), "only actors wait"
    return actor
