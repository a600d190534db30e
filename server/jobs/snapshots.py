"""Snapshots of large buckets: made anew when enough has changed, removed when nobody can be on the way with them."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.ports import System, Towns
from server.application.snapshot_ports import Blobs, Snapshots
from server.application.snapshots import build_snapshot
from sync.kernel.clock import format_time

ROWS_MIN = 5_000
"""A smaller bucket comes over the feed as quickly."""

CHANGED_PERCENT = 20
"""A snapshot of which less than this has changed is good enough: the rest comes over the feed."""

REPLACED_KEPT_SECONDS = 24 * 3600
"""How long a snapshot is kept after a newer one: a device on a slow line may be fetching it."""

UNKNOWN_KEPT_SECONDS = 3600
"""How long a file that no record names is left: it may be about to get one."""

_log = structlog.stdlib.get_logger(__name__)


class SnapshotParts(Protocol):
    """The ports this job needs."""

    @property
    def towns(self) -> Towns:
        """All towns."""
        ...

    @property
    def snapshots(self) -> Snapshots:
        """Which snapshots there are."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Their files."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def build_snapshots(parts: SnapshotParts) -> None:
    """Make what is due in every town, and remove what is of no use; raises only when no town can be asked."""
    for town_id, _ in await parts.towns.list_towns():
        try:
            await _build_due(parts, town_id)
            await _remove_unknown(parts, town_id)
        except Exception:  # noqa: BLE001  one town's trouble keeps no other waiting
            _log.exception("snapshots_not_built", town_id=town_id)


async def _build_due(parts: SnapshotParts, town_id: str) -> None:
    for sha256 in await parts.snapshots.known(town_id):
        if await parts.blobs.size(town_id, sha256) is None:
            _log.warning("snapshot_missing", town_id=town_id, sha256=sha256, remedy="it is made anew")
            await parts.snapshots.forget(town_id, sha256)
    for bucket in await parts.snapshots.due(town_id, rows_min=ROWS_MIN, changed_percent=CHANGED_PERCENT):
        made = await build_snapshot(town_id, bucket, snapshots=parts.snapshots, blobs=parts.blobs, system=parts.system)
        if made:
            _log.info("snapshot_built", town_id=town_id, bucket=bucket, rows=made.rows, bytes=made.bytes)
    replaced_before = format_time(parts.system.now_ms() - REPLACED_KEPT_SECONDS * 1000)
    await parts.snapshots.forget_replaced(town_id, replaced_before)


async def _remove_unknown(parts: SnapshotParts, town_id: str) -> None:
    """Files last: a record without a file costs a device a detour, a file without a record costs only room."""
    written_before_ms = parts.system.now_ms() - UNKNOWN_KEPT_SECONDS * 1000
    stored = [one for one in await parts.blobs.stored(town_id) if one.written_ms < written_before_ms]
    named = await parts.snapshots.named(town_id)
    for one in stored:
        if one.sha256 not in named:
            parts.system.reached("snapshot.before_remove")
            await parts.blobs.remove(town_id, one.sha256)
            parts.system.reached("snapshot.after_remove")
