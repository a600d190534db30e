"""Do what a town's commits have asked for: claim what is due, do each by its kind, and say what became of it.

Doing is at least once, the effect is exactly once: a worker that dies between the effect and `finish` leaves a lease
that lapses, the work is done again, and each effect is idempotent by the id of its outbox item. Nothing is ever
dropped: what cannot be done stays in the outbox with its problem, where a person finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from opentelemetry.trace import SpanKind

from server.application.ports import Messages, Outbox, OutboxItem, System, Unavailable
from server.metrics import count_outbox_item
from server.tracing import resumed
from sync.kernel.clock import UNIX_MS_MAX, format_time
from sync.kernel.errors import TallystickError

CLAIM_ITEMS_MAX = 50
"""Items in one lease; together they must be done well inside `LEASE_SECONDS`."""

CLAIMS_MAX = 100
"""Claims in one call; what is still due then waits for the next ring or sweep."""

LEASE_SECONDS = 30
"""How long the work of a worker that died lies still."""

LEASE_WORKED_SECONDS = 20
"""How long a lease is worked on: what takes longer, because somebody else is slow, is begun by nobody twice."""

BACKOFF_SECONDS = 5
BACKOFF_SECONDS_MAX = 3600
"""The wait after a failure: 5 s, then twice as long each time, at most an hour."""

ATTEMPTS_MAX = 20
"""Attempts before an item is given up, after about ten hours; a worker that died in one has used it up."""

UNKNOWN_KIND_SECONDS = 3600
"""The wait for a release that knows the kind; it uses up no attempt."""

PROBLEM_CHARACTERS_MAX = 500

NEVER = format_time(UNIX_MS_MAX)
"""When an item that was given up is due."""

Handler = Callable[[OutboxItem, Messages, str], Awaitable[None]]
"""Does one item's effect at a time; must be idempotent by the item's id. May raise `NotYet` or `Hopeless`."""


class NotYet(TallystickError):
    """The work waits for somebody else, and is looked at again after a while; that is no failure."""

    code: ClassVar[str] = "not_yet"

    def __init__(self, wait_seconds: float) -> None:
        super().__init__()
        self.wait_seconds = wait_seconds


class Hopeless(TallystickError):
    """The work cannot be done, however often it is tried; somebody has to look at it."""

    code: ClassVar[str] = "hopeless"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkedOff:
    """What one call has done: items finished, and items that stay with a problem."""

    done: int
    failed: int


async def work_off_outbox(
    town_id: str,
    *,
    outbox: Outbox,
    messages: Messages,
    system: System,
    more: Mapping[str, Handler] | None = None,
) -> WorkedOff:
    """Do what is due of one town, up to `CLAIMS_MAX` leases; `more` are further kinds of work.

    What a lease is too short for is handed back, and so is what was not begun when whoever called has no more time.
    Raises what the outbox raises, `Unavailable` mostly.
    """
    handlers = {**HANDLERS, **(more or {})}
    done = failed = 0
    for _ in range(CLAIMS_MAX):
        now_ms = system.now_ms()
        lease_until = format_time(now_ms + LEASE_SECONDS * 1000)
        items = await outbox.claim(town_id, format_time(now_ms), lease_until, CLAIM_ITEMS_MAX)
        if not items:
            break
        system.reached("outbox.after_claim")
        begun = 0
        try:
            for item in items:
                begun += 1
                if system.now_ms() > now_ms + LEASE_WORKED_SECONDS * 1000:
                    await _put_off(item, 0, outbox, system)
                    continue
                is_done = await _work_off(item, handlers.get(item.kind), outbox, messages, system)
                if is_done is None:
                    continue
                count_outbox_item(item.kind, is_done=is_done)
                done, failed = done + is_done, failed + (not is_done)
        except asyncio.CancelledError:
            for item in items[begun:]:  # or slow work before it would use up its attempts, and it be given up untried
                await _put_off(item, 0, outbox, system)
            raise
    return WorkedOff(done=done, failed=failed)


async def _work_off(
    item: OutboxItem, handler: Handler | None, outbox: Outbox, messages: Messages, system: System
) -> bool | None:
    """Whether it is done; None when it waits for somebody."""
    if handler is None:
        due_at = format_time(system.now_ms() + UNKNOWN_KIND_SECONDS * 1000)
        problem = f"this release does not know work of the kind {item.kind!r}"
        await outbox.fail(item.town_id, item.id, problem[:PROBLEM_CHARACTERS_MAX], due_at, is_counted=False)
        return False
    if item.attempts > ATTEMPTS_MAX:  # it never came to an end, or the last failure would have given it up
        await _fail(item, f"given up after {ATTEMPTS_MAX} attempts, the last of which never ended", outbox, system)
        return False
    system.reached("outbox.before_effect")
    try:
        with resumed(f"outbox {item.kind}", SpanKind.CONSUMER, {"town.id": item.town_id}, item.traceparent):
            await handler(item, messages, format_time(system.now_ms()))
    except NotYet as waiting:
        await _put_off(item, waiting.wait_seconds, outbox, system)
        return None
    except Hopeless as fault:
        await outbox.fail(item.town_id, item.id, _problem(fault)[:PROBLEM_CHARACTERS_MAX], NEVER)
        return False
    except Exception as fault:  # noqa: BLE001  whatever it was stays with the item, and the next item is done
        await _fail(item, _problem(fault), outbox, system, is_away=isinstance(fault, Unavailable))
        return False
    system.reached("outbox.after_effect")
    await outbox.finish(item.town_id, item.id, format_time(system.now_ms()))
    system.reached("outbox.after_finish")
    return True


async def _put_off(item: OutboxItem, wait_seconds: float, outbox: Outbox, system: System) -> None:
    """Due again after a while, as if this attempt had not been."""
    due_at = format_time(system.now_ms() + round(wait_seconds * 1000))
    await outbox.fail(item.town_id, item.id, None, due_at, is_counted=False)


async def _fail(item: OutboxItem, problem: str, outbox: Outbox, system: System, *, is_away: bool = False) -> None:
    """Due again after a while. What it needs may be away for days, a provider above all: that gives nothing up."""
    wait_seconds = min(BACKOFF_SECONDS * 2 ** (item.attempts - 1), BACKOFF_SECONDS_MAX)
    is_given_up = item.attempts >= ATTEMPTS_MAX and not is_away
    is_counted = item.attempts < ATTEMPTS_MAX or not is_away
    due_at = NEVER if is_given_up else format_time(system.now_ms() + wait_seconds * 1000)
    await outbox.fail(item.town_id, item.id, problem[:PROBLEM_CHARACTERS_MAX], due_at, is_counted=is_counted)


def _problem(fault: Exception) -> str:
    name = fault.code if isinstance(fault, TallystickError) else type(fault).__name__
    return f"{name}: {fault}"


async def _notify_customer(item: OutboxItem, messages: Messages, at: str) -> None:
    await messages.write(item.town_id, item.id, item.data["order"], item.data["text"], at)


HANDLERS: Mapping[str, Handler] = {"customer.notify": _notify_customer}
"""Every kind of work there is."""
