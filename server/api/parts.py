"""What the application is made of: `bootstrap` fills this in, the routes read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeVar, cast

from starlette.requests import Request

from server.api.admission import Exchanges
from server.api.body import BodyLimits
from server.api.streams import Streams
from server.application.callback_ports import Inbox
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.make_papers import PaperDesk
from server.application.live_ports import Hints
from server.application.payment_ports import CardPayments
from server.application.people import People
from server.application.people_ports import Listings
from server.application.ports import Bell, Enrolments, Sights, Signer, System, Towns
from server.application.queries.statements import Statements
from server.application.rate_ports import Tries
from server.application.rates import RateLimits
from server.application.receipt_ports import ReceiptBook
from server.application.sealed_ports import Quarantine, SealedUploads
from server.application.shop_ports import Shop
from server.application.snapshot_ports import Blobs, Snapshots
from server.domain.access import DeviceCaller
from sync.protocol import limits

Part = TypeVar("Part")

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
class LiveDoor:
    """What live streams need; `keep_alive_seconds` is how long one says nothing at most."""

    hints: Hints
    streams: Streams = field(default_factory=Streams)
    keep_alive_seconds: float = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotDoor:
    """What hands out snapshots."""

    snapshots: Snapshots
    blobs: Blobs


@dataclass(frozen=True, kw_only=True, slots=True)
class StaffDoor:
    """What people of the office need to come in and to look around."""

    people: People
    listings: Listings
    quarantine: Quarantine
    statements: Statements


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopDoor:
    """What customers need: what towns sell, how far an order is, what codes are made with (newest first).

    `card` is who takes cards, if anybody does; from its page customers come back to `return_url`.
    """

    shop: Shop
    listings: Listings
    tracking_secrets: Sequence[bytes] = field(repr=False)
    card: CardPayments | None = None
    return_url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallbackDoor:
    """What providers that call by themselves need: where it is kept, and who is rung.

    Paths are made with `secrets`, what is said of cards is signed with one of `card_secrets`.
    """

    inbox: Inbox
    bell: Bell
    secrets: Sequence[bytes] = field(repr=False)
    card_secrets: Sequence[bytes] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Ports, the write path and the few settings that the edge needs.

    `public_url` has no path and no slash at the end: tokens are made out to it. `tokens` are those whose signature was
    checked before. `checks` are run by `/readyz`. Smaller pages than `page_rows` are only for tests. Without `staff`
    there are doors for devices only. Of `trusted_proxies`, addresses and networks, X-Forwarded-For is believed.
    """

    public_url: str
    towns: Towns
    enrolments: Enrolments
    appliers: Appliers
    signer: Signer
    system: System
    tries: Tries
    checks: Mapping[str, Check]
    running: Running
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    exchanges: Exchanges = field(default_factory=Exchanges)
    rates: RateLimits = field(default_factory=RateLimits)
    trusted_proxies: Sequence[str] = ()
    tokens: dict[str, DeviceCaller] = field(default_factory=dict)
    page_rows: int = limits.PAGE_ROWS
    metrics: MetricsDoor | None = None
    staff: StaffDoor | None = None
    live: LiveDoor | None = None
    snapshots: SnapshotDoor | None = None
    shop: ShopDoor | None = None
    sealed: SealedUploads | None = None
    callbacks: CallbackDoor | None = None
    receipts: ReceiptBook | None = None
    papers: PaperDesk | None = None
    has_docs: bool = False


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves this request."""
    return cast("Parts", request.app.state.parts)


def sealed_uploads_of(request: Request) -> SealedUploads:
    """What revoked devices hand in, in the application that has the route for it."""
    return _there(parts_of(request).sealed)


def paper_door_of(request: Request) -> PaperDesk:
    """Where papers are asked for, in the application that has the routes for it."""
    return _there(parts_of(request).papers)


def staff_door_of(request: Request) -> StaffDoor:
    """The door for people, which the application that has its routes has."""
    return _there(parts_of(request).staff)


def live_door_of(request: Request) -> LiveDoor:
    """The door for live streams, which the application that has its route has."""
    return _there(parts_of(request).live)


def shop_door_of(request: Request) -> ShopDoor:
    """The door for customers, which the application that has its routes has."""
    return _there(parts_of(request).shop)


def callback_door_of(request: Request) -> CallbackDoor:
    """The door for providers, which the application that has its routes has."""
    return _there(parts_of(request).callbacks)


def receipt_book_of(request: Request) -> ReceiptBook:
    """The book of receipts, which the application that has its route has."""
    return _there(parts_of(request).receipts)


def snapshot_door_of(request: Request) -> SnapshotDoor:
    """The door for snapshots, which the application that has its route has."""
    return _there(parts_of(request).snapshots)


def _there(part: Part | None) -> Part:
    assert part is not None
    return part
