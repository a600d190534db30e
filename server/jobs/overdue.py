"""Facts that have waited too long for what they are about: somebody in the office is asked to look, once.

The town itself says so by `stub.expire`. Whether it is so is decided under the town's lock, so two schedulers, or one
that was cut off, do it once all the same.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.commands.apply_change_sets import Appliers
from server.application.people_ports import Listings, Wanted, Where
from server.application.ports import System, Towns
from server.domain.devices import server_device_id
from server.jobs.every_town import in_every_town
from sync.kernel.clock import format_time
from sync.modules.commerce import ExpireStub
from sync.modules.commerce.waiting import WAIT_HOURS

STUBS_MAX = 100
"""What is said of one town in one run; the next run goes on."""

_log = structlog.stdlib.get_logger(__name__)


class OverdueParts(Protocol):
    """The ports this job needs."""

    @property
    def towns(self) -> Towns:
        """All towns."""
        ...

    @property
    def listings(self) -> Listings:
        """What waits in each."""
        ...

    @property
    def appliers(self) -> Appliers:
        """The one write path."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def report_overdue(parts: OverdueParts) -> None:
    """Leave the conflicts that are due in every town; raises only when no town can be asked."""
    before = format_time(parts.system.now_ms() - WAIT_HOURS * 3600 * 1000)
    await in_every_town(
        parts.towns,
        lambda town_id: _report(parts, town_id, before),
        log=_log,
        failed="overdue_not_reported",
        done="overdue_reported",
        what="stubs",
    )


async def _report(parts: OverdueParts, town_id: str, before: str) -> int:
    wanted = Wanted(
        entity="stub",
        where=[
            Where(field="state", how="is", value="waiting"),
            Where(field="since", how="before", value=before),
        ],
        order="since",
        rows_max=STUBS_MAX,
    )
    async with parts.listings.reading([town_id], town_id) as reader:
        stubs = await reader.page(wanted)
    for stub in stubs:
        parts.system.reached("overdue.before_report")
        await parts.appliers.author(town_id, server_device_id(town_id), [ExpireStub(stub=stub.id)])
        parts.system.reached("overdue.after_report")
    return len(stubs)
