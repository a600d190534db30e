"""Looking behind a replica's face: what it holds of each bucket, to be compared with what the server has there."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

from client_sdk import Replica
from client_sdk.adapters.sqlite.store import SqliteStore

BucketRows = dict[str, dict[tuple[str, str], str]]
"""By bucket and (entity, id): version and body."""


def held_rows(replica: Replica) -> BucketRows:
    """Every base row of the replica, by the bucket it came with."""
    store = cast("SqliteStore", replica._store)
    held: BucketRows = defaultdict(dict)
    with store._reading() as connection:
        for (bucket,) in connection.execute("SELECT name FROM bucket"):
            held[bucket] = {}
        for bucket, entity, row_id, version, body in connection.execute(
            "SELECT bucket.name, entity, base_row.id, version, body FROM base_row JOIN bucket ON bucket.id = bucket"
        ):
            held[bucket][entity, row_id] = f"{version} {body}"
    return held


def check_replica(replica: Replica, feed: BucketRows) -> None:
    """The replica holds exactly what the feed has in its buckets, and its own checks find nothing."""
    held = held_rows(replica)
    assert held, "the replica has never synced"
    for bucket, rows in held.items():
        assert rows == feed.get(bucket, {}), bucket
    assert list(replica.verify()) == []
