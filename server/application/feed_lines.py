"""Feed rows as finished lines of an answer, in the form in which PostgreSQL makes them where it holds the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import orjson

from server.application.ports import FeedPage
from sync.engine.feed import FeedRow
from sync.kernel.changeset import RowKey
from sync.protocol import limits


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedLineRow:
    """A feed row as a line says it, made once for everybody who gets it; `size` is that of its body."""

    key: RowKey
    version: int
    said: bytes
    is_gone: bool
    size: int


def line_row(row: FeedRow) -> FeedLineRow:
    """What a line says of a row."""
    body = b"" if row.body is None else b"," + row.body
    return FeedLineRow(
        key=(row.entity, row.row_id),
        version=row.version,
        said=b'["%b",%d%b]' % (row.row_id.encode(), row.version, body),
        is_gone=row.body is None,
        size=max(0, len(body) - 1),
    )


def cut_page(bucket: str, rows: Sequence[FeedLineRow], rows_max: int, bytes_max: int) -> FeedPage:
    """A page of a bucket's `rows`, which come in the order of their versions: whole versions, at least one.

    It ends with the version in which it reaches `rows_max` rows or `bytes_max` bytes of bodies.
    """
    taken: list[FeedLineRow] = []
    size = 0
    for _, same in groupby(rows, key=attrgetter("version")):
        if taken and (len(taken) >= rows_max or size >= bytes_max):
            break
        of_version = list(same)
        taken += of_version
        size += sum(row.size for row in of_version)
    return FeedPage(
        rows=len(taken),
        last_version=taken[-1].version if taken else None,
        lines=list(_lines(bucket, taken)),
    )


def _lines(bucket: str, rows: Sequence[FeedLineRow]) -> Iterator[bytes]:
    """One entity after the other, a line for so many rows or bytes."""
    by_entity: dict[str, list[FeedLineRow]] = {}
    for row in rows:
        by_entity.setdefault(row.key[0], []).append(row)
    for entity, of_entity in sorted(by_entity.items()):
        start = b'{"t":"rows","b":%b,"e":%b,"put":[' % (orjson.dumps(bucket), orjson.dumps(entity))
        part: list[FeedLineRow] = []
        size = 0
        for row in of_entity:
            if len(part) >= limits.ROWS_LINE_ROWS or size >= limits.ROWS_LINE_BYTES:
                yield _line(start, part)
                part, size = [], 0
            part.append(row)
            size += row.size
        yield _line(start, part)


def _line(start: bytes, rows: Sequence[FeedLineRow]) -> bytes:
    put = [row.said for row in rows if not row.is_gone]
    gone = [row.said for row in rows if row.is_gone]
    return start + b",".join(put) + b'],"gone":[' + b",".join(gone) + b"]}"
