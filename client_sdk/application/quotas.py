"""Giving back what a device may not sell any more: on contact, by itself, behind everything it has sold.

A quota that the office has withdrawn, or whose time is over by this device's clock, stops the device at once; the
server frees its rest when the device says so in its own chain. A clock that is wrong gives back early or late, which
harms nobody: what is not given back is still set aside.
"""

from __future__ import annotations

from client_sdk.application.ports import Store, System
from client_sdk.application.record import record
from sync.kernel.clock import format_time
from sync.kernel.module import Registry

QUOTA = "stock_quota"
"""The entity under which a device sees what it may sell by itself."""


def return_unsold(store: Store, system: System, registry: Registry) -> int:
    """Record that withdrawn and lapsed quotas are given back, one change set each; returns how many.

    Raises what `record` raises; what was recorded before stays recorded.
    """
    over = [row_id for row_id, _ in store.base_rows(QUOTA) if _is_over(store, row_id, format_time(system.now_ms()))]
    if not over:
        return 0
    from sync.modules.commerce import ReturnQuota  # noqa: PLC0415  most devices never hold one

    device_id = store.identity().device_id
    for row_id in over:
        record(store, system, registry, device_id, [ReturnQuota(quota=row_id)])
    return len(over)


def _is_over(store: Store, row_id: str, now: str) -> bool:
    quota = store.row(QUOTA, row_id)
    if quota is None or quota.fields["state"] == "closed":
        return False
    return quota.fields["state"] == "withdrawn" or bool(quota.fields["expires_at"] <= now)
