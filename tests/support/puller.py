"""A device that only follows the feed, and complains of everything that a cursor must be able to rely on.

It asks page by page with a `hello` as a replica does and keeps rows, versions and cursors, but judges nothing. With
`recent` it is answered out of memory where that is possible, as the door does it. What it
complains of: a row at or below a cursor that it was given before, a page that ends inside a version, a checkpoint whose
counts and checksums are not those of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from server.adapters.postgres.connection import Connection
from server.application.ports import Towns
from server.application.queries.exchange_page import Reading, pages
from server.application.recent import RecentTowns
from sync.engine.chain import encode_bytes
from sync.engine.feed import BucketSum, encode_body
from sync.protocol import limits
from sync.protocol.messages import Hello

Rows = dict[tuple[str, str, str], tuple[int, bytes]]
"""(bucket, entity, id) -> (version, body as it stands in the feed)."""


@dataclass(kw_only=True)
class Puller:
    """What one device has from the feed so far."""

    towns: Towns | None
    town_id: str
    device_id: str
    page_rows: int = limits.PAGE_ROWS
    page_bytes: int = limits.PAGE_BYTES
    rows: Rows = field(default_factory=dict)
    sums: dict[str, BucketSum] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    epoch: str | None = None
    version: int = 0
    complaints: list[str] = field(default_factory=list)
    recent: RecentTowns | None = None
    times_from_memory: int = 0
    witness: dict[str, Any] | None = None
    pages: list[list[int]] = field(default_factory=list)
    """Bytes of each line of each page."""

    async def pull(self, *, pages_max: int | None = None) -> bool:
        """Take pages up to the final checkpoint, or `pages_max` of them as if the line broke then; whether it ended."""
        assert self.towns is not None
        taken, hello = 0, self._hello()
        known = await self.recent.current(self.town_id, self.device_id, hello) if self.recent else None
        self.times_from_memory += known is not None
        stored: Reading = partial(self.towns.reading, self.town_id)
        reading: Reading = (lambda: nullcontext(known)) if known else stored
        saw = self.recent.saw if self.recent else lambda _: None
        async for page in pages(
            reading, self.device_id, hello, page_rows=self.page_rows, page_bytes=self.page_bytes, saw=saw
        ):
            self.pages.append([len(line) for line in page.lines])
            self._take([orjson.loads(line) for line in page.lines])
            taken += 1
            if page.is_last:
                return True
            if taken == pages_max:
                return False
        raise AssertionError("the pages ended without a final checkpoint")

    def _hello(self) -> Hello:
        said: dict[str, Any] = {
            "protocol": 1,
            "schema": 1,
            "sdk": "0.1.0",
            "app": "puller",
            "clock": "2026-11-21T08:00:00.000Z",
            "epoch": self.epoch,
            "cursors": self.cursors,
            "head": {"seq": 0, "hash": encode_bytes(bytes(32)), "sig": encode_bytes(bytes(64))},
            "from_seq": 1,
            "pending": 0,
            "witness": self.witness,
        }
        return Hello.model_validate(said)

    def _take(self, lines: list[dict[str, Any]]) -> None:
        *changes, checkpoint = lines
        seen: dict[str, int] = {}
        for line in changes:
            if line["t"] == "bucket":
                self._settle(line["b"], line["state"])
            else:
                self._change(line, seen)
        self.version, self.epoch = checkpoint["version"], checkpoint["epoch"]
        self.witness = {"version": self.version, "journal": checkpoint["journal"]["hash"]}
        for bucket, mark in checkpoint["buckets"].items():
            if seen.get(bucket, 0) > mark["version"]:
                self._complain(f"{bucket}: a row of version {seen[bucket]} is beyond the cursor {mark['version']}")
            self.cursors[bucket] = mark["version"]
        if not checkpoint["more"]:
            self._check_sums(checkpoint["buckets"])

    def _settle(self, bucket: str, state: str) -> None:
        self.states[bucket] = state
        if state != "kept":
            self.rows = {key: row for key, row in self.rows.items() if key[0] != bucket}
            self.cursors.pop(bucket, None)
            self.sums.pop(bucket, None)

    def _change(self, line: Mapping[str, Any], seen: dict[str, int]) -> None:
        bucket, entity = line["b"], line["e"]
        total = self.sums.get(bucket, BucketSum())
        for row_id, version, *body in [*line["put"], *line["gone"]]:
            if version <= self.cursors.get(bucket, 0):
                self._complain(f"{bucket}: {entity} {row_id} came late, with {version} after {self.cursors[bucket]}")
            seen[bucket] = max(seen.get(bucket, 0), version)
            if before := self.rows.pop((bucket, entity, row_id), None):
                total = total.without_row(entity, row_id, before[0])
            if body:
                self.rows[bucket, entity, row_id] = (version, encode_body(body[0]))
                total = total.with_row(entity, row_id, version)
        self.sums[bucket] = total

    def _check_sums(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        for bucket, mark in marks.items():
            total = self.sums.get(bucket, BucketSum())
            here = (total.rows, f"{total.total:016x}")
            if here != (mark["rows"], mark["sum"]):
                self._complain(f"{bucket}: {here} here, {mark['rows']} rows and {mark['sum']} there at {self.version}")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)


async def feed_rows(connection: Connection, buckets: Mapping[str, int]) -> Rows:
    """What the feed holds in these buckets, tombstones left out; the connection sees one town."""
    cursor = await connection.execute(
        "SELECT bucket, entity, id, version, body FROM feed WHERE bucket = ANY(%s) AND body IS NOT NULL",
        [list(buckets)],
    )
    return {
        (bucket, entity, row_id): (version, body.encode()) async for bucket, entity, row_id, version, body in cursor
    }


async def faults_of_versions(connection: Connection) -> list[str]:
    """Where the versions of the one town that the connection sees are not 1, 2, 3 ... in journal and head alike."""
    cursor = await connection.execute("SELECT version FROM journal ORDER BY version")
    versions = [version for (version,) in await cursor.fetchall()]
    cursor = await connection.execute("SELECT version FROM town_heads")
    heads = await cursor.fetchall()
    if versions == list(range(1, len(versions) + 1)) and heads == [(len(versions),)]:
        return []
    return [f"{len(versions)} journal entries up to {max(versions, default=0)}, and the head says {heads}"]
