"""How a replica stands, for an app to show: what waits, when the server was last heard, what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass

from client_sdk.application.leases import LeaseStatus, lease_status
from client_sdk.application.ports import Store, System
from client_sdk.errors import ReplicaWiped
from sync.kernel.clock import parse_time
from sync.kernel.errors import TallystickError

_SUSPENDED = frozenset({"device_suspended", "device_revoked", "chain_forked"})
_HALTED = "town_halted"
_NEEDS_UPGRADE = "upgrade_required"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaStatus:
    """How this replica stands. `online`, `suspended`, `needs_upgrade`, `last_problem` are as the last sync found.

    `clock_offset_ms` is what must be added to the device's clock to give the server's time; None before any contact.
    """

    online: bool
    pending: int
    version: int
    last_contact: str | None
    clock_offset_ms: int | None
    suspended: bool
    needs_upgrade: bool
    last_problem: TallystickError | None
    halted: bool = False
    """The town is halted until an admin has looked; recording goes on."""
    wiped: bool = False
    """The device was revoked, has handed in what was unsent, and holds nothing any more."""
    lease: LeaseStatus | None = None
    """What it may still do without the server; None when the server has set no limit."""


def status_of(store: Store, system: System, problem: TallystickError | None, *, is_online: bool) -> ReplicaStatus:
    """How the replica stands; `problem` is what the last sync ended with."""
    if isinstance(problem, ReplicaWiped):
        return _wiped(problem)
    standing = store.standing()
    contact = standing.contact
    code = problem.code if problem else ""
    return ReplicaStatus(
        online=is_online,
        pending=store.pending_count(),
        version=standing.version,
        last_contact=contact.server_time if contact else None,
        clock_offset_ms=parse_time(contact.server_time) - contact.device_ms if contact else None,
        suspended=code in _SUSPENDED,
        needs_upgrade=code == _NEEDS_UPGRADE,
        last_problem=problem,
        halted=code == _HALTED,
        lease=lease_status(store, system),
    )


def _wiped(problem: TallystickError) -> ReplicaStatus:
    return ReplicaStatus(
        online=True,
        pending=0,
        version=0,
        last_contact=None,
        clock_offset_ms=None,
        suspended=True,
        needs_upgrade=False,
        last_problem=problem,
        wiped=True,
    )
