"""The lease that a device gets at every contact: what it may do until it is heard of again."""

from __future__ import annotations

from typing import Any

from server.application.ports import DeviceRecord, Signer
from sync.engine.leases import MONEY, Lease, lease_message
from sync.kernel.clock import format_time
from sync.kernel.module import Registry
from sync.modules.town_settings import OFFLINE_DAYS

DAY_MS = 24 * 3600 * 1000


def grant(device: DeviceRecord, clock: str, now_ms: int, *, registry: Registry, signer: Signer) -> dict[str, Any]:
    """The lease as the welcome carries it, in answer to a hello that said `clock`."""
    days = device.town_settings.get("offline_days") or OFFLINE_DAYS
    allowed = (name for name in MONEY if name in registry.operations and registry.permits(device.role, name))
    lease = Lease(
        issued=format_time(now_ms),
        until=format_time(now_ms + days * DAY_MS),
        cash_units=device.town_settings.get("cash_ceiling_units"),
        operations=tuple(allowed),
    )
    return {
        "issued": lease.issued,
        "until": lease.until,
        "cash_units": lease.cash_units,
        "operations": lease.operations,
        "sig": signer.sign(lease_message(device.town_id, device.device_id, clock, lease)),
    }
