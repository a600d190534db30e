"""What must hold when a season is over, asked of the database and of every replica, with nothing of the server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import psycopg

from loadtests.crew import CrewDevice, reopened, synced
from loadtests.sums import Sums
from sync.modules import registry

_FEED = """SELECT entity, id::text, version, body FROM tallystick.feed
    WHERE town_id = %s AND bucket = ANY(%s) AND body IS NOT NULL"""
_SOLD = """SELECT coalesce(sum((line ->> 'quantity')::bigint), 0),
    coalesce(sum((line ->> 'quantity')::bigint * (line ->> 'price_minor')::bigint), 0)
    FROM tallystick.orders, jsonb_array_elements(lines) AS line WHERE town_id = %s"""
_MOVED = """SELECT coalesce(sum(on_hand_delta) FILTER (WHERE reason LIKE 'returned %%'), 0),
    coalesce(-sum(on_hand_delta) FILTER (WHERE reason = 'written off'), 0)
    FROM tallystick.stock_movements WHERE town_id = %s"""


def booked(database_url: str, town: str) -> Sums:
    """The sums of a town from its tables, read by the owner of the database; cancelled orders are not in `back`."""
    with psycopg.connect(database_url) as connection:
        sold, pence = connection.execute(_SOLD, [town]).fetchone() or (0, 0)
        back, written_off = connection.execute(_MOVED, [town]).fetchone() or (0, 0)
    return Sums(sold=int(sold), pence=int(pence), back=int(back), written_off=int(written_off))


def database_mib(database_url: str) -> float:
    """What the database takes on the disk, in MiB."""
    with psycopg.connect(database_url) as connection:
        (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
    return round(int(size) / 1024**2, 1)


def differing(database_url: str, device: CrewDevice) -> list[str]:
    """How a replica, after a last sync, differs from the server's buckets, row by row; and what it says of itself."""
    with psycopg.connect(database_url) as connection, reopened(device) as replica:
        synced(replica)
        found = [str(finding) for finding in replica.verify()]
        server = connection.execute(_FEED, [device.town, list(device.buckets)]).fetchall()
        expected = {(entity, row_id): (version, orjson.loads(body)) for entity, row_id, version, body in server}
        for entity in registry().entities.values():
            for row in replica.query(f'SELECT * FROM "{entity.plural}"'):  # noqa: S608 - a name of the registry
                version, body = expected.pop((entity.name, row["id"]), (None, {}))
                if row["version"] != version or not _is_same(row, body):
                    found.append(f"{device.path.stem}: {entity.name} {row['id']} differs")
        found.extend(f"{device.path.stem}: {entity} {row_id} is missing" for entity, row_id in expected)
    return found


def _is_same(row: dict[str, Any], body: dict[str, Any]) -> bool:
    return all(_read(row[name], value) == value for name, value in body.items() if name in row)


def _read(column: Any, value: Any) -> Any:
    """A column as the value it was made from: a view gives lists and maps as JSON."""
    return orjson.loads(column) if isinstance(value, list | dict) and isinstance(column, str) else column


def all_differing(database_url: str, devices: Iterable[CrewDevice]) -> Sequence[str]:
    """As `differing`, over several."""
    return [one for device in devices for one in differing(database_url, device)]
