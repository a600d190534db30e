"""Do what a town's commits have asked for: claim what is due, do each by its kind, and say what became of it.

Doing is at least once, the effect is exactly once: a worker that dies between the effect and `finish` leaves a lease
that lapses, the work is done again, and each effect is idempotent by the id of its outbox item. Nothing is ever
dropped: what cannot be done stays in the outbox with its problem, where a person finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from opentelemetry.trace import SpanKind

from server.application.ports import Messages, Outbox, OutboxItem, System
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
"""Does one item's effect at a time; must be idempotent by the item's id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkedOff:
    """What one call has done: items finished, and items that stay with a problem."""

    done: int
    failed: int


async def work_off_outbox(town_id: str, *, outbox: Outbox, messages: Messages, system: System) -> WorkedOff:
    """Do what is due of one town, up to `CLAIMS_MAX` leases. Raises what the outbox raises, `Unavailable` mostly."""
    done = failed = 0
    for _ in range(CLAIMS_MAX):
        now_ms = system.now_ms()
        lease_until = format_time(now_ms + LEASE_SECONDS * 1000)
        items = await outbox.claim(town_id, format_time(now_ms), lease_until, CLAIM_ITEMS_MAX)
        if not items:
            break
        system.reached("outbox.after_claim")
        for item in items:
            is_done = await _work_off(item, outbox, messages, system)
            count_outbox_item(item.kind, is_done=is_done)
            if is_done:
                done += 1
            else:
                failed += 1
    return WorkedOff(done=done, failed=failed)


async def _work_off(item: OutboxItem, outbox: Outbox, messages: Messages, system: System) -> bool:
    handler = HANDLERS.get(item.kind)
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
    except Exception as fault:  # noqa: BLE001  whatever it was stays with the item, and the next item is done
        await _fail(item, _problem(fault), outbox, system)
        return False
    system.reached("outbox.after_effect")
    await outbox.finish(item.town_id, item.id, format_time(system.now_ms()))
    system.reached("outbox.after_finish")
    return True


async def _fail(item: OutboxItem, problem: str, outbox: Outbox, system: System) -> None:
    wait_seconds = min(BACKOFF_SECONDS * 2 ** (item.attempts - 1), BACKOFF_SECONDS_MAX)
    is_given_up = item.attempts >= ATTEMPTS_MAX
    due_at = NEVER if is_given_up else format_time(system.now_ms() + wait_seconds * 1000)
    await outbox.fail(item.town_id, item.id, problem[:PROBLEM_CHARACTERS_MAX], due_at)


def _problem(fault: Exception) -> str:
    name = fault.code if isinstance(fault, TallystickError) else type(fault).__name__
    return f"{name}: {fault}"


async def _notify_customer(item: OutboxItem, messages: Messages, at: str) -> None:
    await messages.write(item.town_id, item.id, item.data["order"], item.data["text"], at)


HANDLERS: Mapping[str, Handler] = {"customer.notify": _notify_customer}
"""Every kind of work there is."""
