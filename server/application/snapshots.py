"""Making the snapshot of a bucket: its rows as `rows` lines in zstd, in one file that is found by its hash.

First the file is there, then the record that offers it: whoever dies in between leaves a file that nobody knows, which
`server.jobs.snapshots` removes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from server.application.ports import System
from server.application.snapshot_ports import Blobs, BucketRows, Snapshot, Snapshots
from sync.kernel.clock import format_time

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_LEVEL = 9
"""Made once and fetched by many."""


async def build_snapshot(
    town_id: str, bucket: str, *, snapshots: Snapshots, blobs: Blobs, system: System
) -> Snapshot | None:
    """A new snapshot of the bucket as it stands, offered from now on; None when it has no rows any more."""
    async with snapshots.bucket(town_id, bucket) as held:
        counted = _Counted(held)
        blob = await blobs.write(town_id, counted.compressed())
        system.reached("snapshot.after_file")
    if not counted.rows:
        return None
    made = Snapshot(
        bucket=bucket, sha256=blob.sha256, epoch=held.epoch, version=held.version, rows=counted.rows, bytes=blob.size
    )
    await snapshots.add(town_id, made, format_time(system.now_ms()))
    system.reached("snapshot.after_row")
    return made


class _Counted:
    """The rows of a bucket on their way into a file."""

    def __init__(self, held: BucketRows) -> None:
        self._held = held
        self.rows = 0

    async def compressed(self) -> AsyncIterator[bytes]:
        """One zstd frame (RFC 8878); each page is compressed apart from the event loop."""
        compressor = zstd.ZstdCompressor(level=ZSTD_LEVEL)
        async for count, lines in self._held.pages():
            self.rows += count
            if made := await asyncio.to_thread(compressor.compress, b"\n".join([*lines, b""])):
                yield made
        yield compressor.flush()
