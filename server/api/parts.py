"""What the application is made of: `bootstrap` fills this in, the routes read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from server.api.admission import Exchanges
from server.api.body import BodyLimits
from server.application.commands.apply_change_sets import Appliers
from server.application.people import People
from server.application.people_ports import Listings
from server.application.ports import Enrolments, Sights, Signer, System, Towns
from sync.protocol import limits

Check = Callable[[], Awaitable[None]]
"""Returns when what it looks at is fine; what it raises says what is not."""

Running = Callable[[], AbstractAsyncContextManager[None]]
"""Opens what the parts need (pools, connections) and closes it when the application stops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsDoor:
    """What `/metrics` needs: the token that opens it, and the towns."""

    token: str
    sights: Sights


@dataclass(frozen=True, kw_only=True, slots=True)
class StaffDoor:
    """What people of the office need to come in and to look around."""

    people: People
    listings: Listings


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Ports, the write path and the few settings that the edge needs.

    `public_url` has no path and no slash at the end: tokens are made out to it. `checks` are run by `/readyz`. Smaller
    pages than `page_rows` are only for tests. Without `staff` there are doors for devices only.
    """

    public_url: str
    towns: Towns
    enrolments: Enrolments
    appliers: Appliers
    signer: Signer
    system: System
    checks: Mapping[str, Check]
    running: Running
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    exchanges: Exchanges = field(default_factory=Exchanges)
    page_rows: int = limits.PAGE_ROWS
    metrics: MetricsDoor | None = None
    staff: StaffDoor | None = None
    has_docs: bool = False


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves this request."""
    return cast("Parts", request.app.state.parts)


def staff_door_of(request: Request) -> StaffDoor:
    """The door for people, which the application that has its routes has."""
    door = parts_of(request).staff
    assert door is not None
    return door
