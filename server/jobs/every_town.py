"""Going through all towns: the trouble of one keeps no other waiting, and the next run comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from structlog.stdlib import BoundLogger

from server.application.ports import Towns


async def in_every_town(
    towns: Towns, work: Callable[[str], Awaitable[int]], *, log: BoundLogger, failed: str, done: str, what: str
) -> None:
    """Do `work`, which gives how many of `what` it was about, in each town; raises only when no town can be asked."""
    for town_id, _ in await towns.list_towns():
        try:
            count = await work(town_id)
        except Exception:
            log.exception(failed, town_id=town_id)
        else:
            if count:
                log.info(done, town_id=town_id, **{what: count})
