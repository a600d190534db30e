"""The worker process: it answers the bell.

The bell makes it quick; what no bell has rung for is the scheduler's (`server.scheduler`): Redis may be away, empty or
lying. The thread of the bell does its work in an event loop of its own for each job.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import ContextVar
from typing import Protocol

import structlog

from server.bootstrap import open_parts
from server.jobs.relay import answer
from server.settings import Settings, load_settings
from server.standing import asked_to_stop, beat_for_ever
from sync.kernel.errors import TallystickError
from sync.kernel.ids import parse_id

ANSWER_SECONDS_MAX = 5
"""How long one ring is worked on; what is still due then is the scheduler's."""

STOP_SECONDS_MAX = 6
"""How long a stop waits for the bell's thread; longer than a job, shorter than the patience of a supervisor."""

_log = structlog.stdlib.get_logger(__name__)
_settings: ContextVar[Settings | None] = ContextVar("_settings", default=None)


class Listening(Protocol):
    """The bell from inside."""

    def listen(self, stopping: threading.Event) -> None:
        """Answer rings until `stopping` is set."""
        ...


def answer_bell(town_id: str) -> None:
    """The RQ job: do what is due of one town. Settings are those of `run_worker`, or the environment's without it.

    It does not fail, because nobody would ring again: the scheduler does what is left. Raises only `InvalidId`, for
    what was never put into the queue by us.
    """
    parse_id(town_id)
    asyncio.run(_answer(_settings.get() or load_settings(os.environ), town_id))


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then stop within 10 seconds. Call it in the main thread, logging configured.

    Raises what `open_parts` raises for wrong settings.
    """
    asyncio.run(_work(settings))


async def _answer(settings: Settings, town_id: str) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX), open_parts(settings) as parts:
            await answer(parts, town_id)
    except (TallystickError, TimeoutError):
        _log.exception("bell_not_answered", town_id=town_id)


async def _work(settings: Settings) -> None:
    asked, stopping = asked_to_stop(), threading.Event()
    async with open_parts(settings) as parts:
        # A daemon: a thread that hangs in a dead connection must not keep the process; what it held is a lease.
        listener = threading.Thread(target=_listen, args=(settings, parts.bell, stopping), name="bell", daemon=True)
        listener.start()
        beating = asyncio.create_task(beat_for_ever("worker", settings.data_dir))
        _log.info("worker_started")
        await asked.wait()
        stopping.set()
        beating.cancel()
        await asyncio.wait([beating])
        await asyncio.to_thread(listener.join, STOP_SECONDS_MAX)
    _log.info("worker_stopped", is_bell_left_hanging=listener.is_alive())


def _listen(settings: Settings, bell: Listening, stopping: threading.Event) -> None:
    _settings.set(settings)  # for the jobs, which RQ runs in this thread
    bell.listen(stopping)
