"""Watching the write path without being in its way: one span and a few figures for each group commit."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence

from server import metrics, tracing
from server.application.batch import Done, Waiting


async def observed(town_id: str, batch: Sequence[Waiting], committing: Awaitable[Done]) -> Done:
    """What `committing` gives, in a span that every waiter of the batch leads to; counted once it is committed."""
    started = time.perf_counter()
    with tracing.span("group_commit", {"town.id": town_id}, caused_by=(waiting.trace for waiting in batch)):
        done = await committing
    if done.step is not None:
        statuses = [answer.verdict.status.value for answer in done.step.answered]
        metrics.count_commit(statuses, time.perf_counter() - started)
    return done
