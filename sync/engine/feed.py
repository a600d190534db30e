"""The feed: which rows go into which buckets, tombstones, and the checksum of a bucket.

The feed keeps one row per (bucket, entity, id) with the version of its last change. A feed row's version is its row's
version, so a bucket's checksum can be kept by what a change takes away and adds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from sync.kernel.changeset import Fields
from sync.kernel.module import Entity

SUM_MODULUS = 1 << 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A row as it stands: its fields and the town version of its last change."""

    version: int
    fields: Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedRow:
    """A line of the feed; `body` is None when the row has left the bucket (a tombstone)."""

    bucket: str
    entity: str
    row_id: str
    version: int
    body: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketSum:
    """How many rows a bucket holds and their checksum; also the difference between two states of it."""

    rows: int = 0
    total: int = 0

    def __add__(self, other: BucketSum) -> BucketSum:
        return BucketSum(rows=self.rows + other.rows, total=(self.total + other.total) % SUM_MODULUS)

    def with_row(self, entity: str, row_id: str, version: int) -> BucketSum:
        """This sum and one row more."""
        return BucketSum(rows=self.rows + 1, total=(self.total + row_sum(entity, row_id, version)) % SUM_MODULUS)

    def without_row(self, entity: str, row_id: str, version: int) -> BucketSum:
        """This sum and one row less."""
        return BucketSum(rows=self.rows - 1, total=(self.total - row_sum(entity, row_id, version)) % SUM_MODULUS)


def row_sum(entity: str, row_id: str, version: int) -> int:
    """A row's share of its bucket's checksum: the first 8 bytes of SHA-256 over entity, id and version."""
    return int.from_bytes(hashlib.sha256(f"{entity}\0{row_id}\0{version}".encode()).digest()[:8])


def encode_body(fields: Fields) -> bytes:
    """The JSON of a row in the feed: sorted keys, no white space, so that a replay gives the same bytes."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def feed_rows(entity: Entity, row_id: str, before: Stored | None, after: Fields, version: int) -> Iterable[FeedRow]:
    """The feed lines of one changed row: one for each bucket it is in, a tombstone for each one it has left."""
    buckets = entity.buckets(after)
    for bucket in buckets:
        body = encode_body(entity.project(bucket, after))
        yield FeedRow(bucket=bucket, entity=entity.name, row_id=row_id, version=version, body=body)
    for bucket in entity.buckets(before.fields) if before else ():
        if bucket not in buckets:
            yield FeedRow(bucket=bucket, entity=entity.name, row_id=row_id, version=version, body=None)


def sum_changes(
    entity: Entity, row_id: str, before: Stored | None, after: Fields, version: int
) -> Iterable[tuple[str, BucketSum]]:
    """What one changed row takes away from and adds to the checksums of its buckets."""
    if before:
        for bucket in entity.buckets(before.fields):
            yield bucket, BucketSum().without_row(entity.name, row_id, before.version)
    for bucket in entity.buckets(after):
        yield bucket, BucketSum().with_row(entity.name, row_id, version)
