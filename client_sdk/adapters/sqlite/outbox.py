"""The outbox and the head of the chain, inside a transaction that the store has opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import apsw
import orjson

from client_sdk.adapters.sqlite import meta
from client_sdk.application.answer import read_verdict
from client_sdk.application.lease_ports import Reading
from client_sdk.application.ports import Entry, LineStatus, LocalHead, OutboxLine, Running, Standing
from sync.kernel.changeset import Fields, RowKey
from sync.protocol.messages import Told

_OVERLAY_ROW = "SELECT body FROM overlay_row WHERE entity = ? AND id = ?"
_BASE_ROW = "SELECT body FROM base_row WHERE entity = ? AND id = ?"
_PUT_OVERLAY = "INSERT OR REPLACE INTO overlay_row (entity, id, body) VALUES (?, ?, ?)"
_COVER = "UPDATE base_row SET is_covered = 1 WHERE entity = ? AND id = ?"
_UNLAY = "DELETE FROM overlay_row WHERE entity = ? AND id = ?"
_UNCOVER = "UPDATE base_row SET is_covered = 0 WHERE entity = ? AND id = ?"
_APPEND = """INSERT INTO outbox (seq, line, digest, signature, at, status, guess, reads, writes, earlier)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_ENTRIES = """SELECT seq, line, digest, signature, at, status, guess, reads, writes, verdict, version, answered_at,
    earlier FROM outbox"""
_LINES_FROM = "SELECT seq, line, digest, signature FROM outbox WHERE seq >= ? ORDER BY seq LIMIT ?"
# What is answered was told its verdict; what is pending again was told the last of those that are kept beside.
_TOLD_FROM = """SELECT seq, coalesce(verdict, earlier ->> '$[#-1]') AS told, coalesce(version, 0) FROM outbox
    WHERE seq BETWEEN ? AND ? AND told IS NOT NULL ORDER BY seq"""
_LAST_BEFORE = "SELECT seq, digest FROM outbox WHERE seq < ? ORDER BY seq DESC LIMIT 1"
_FIRST_BEYOND = "SELECT min(seq) FROM outbox WHERE status = 'answered' AND version > ?"
_FIRST_PENDING = "SELECT line FROM outbox WHERE status = 'pending' ORDER BY seq LIMIT 1"
_PENDING = "SELECT seq, digest, reads, writes FROM outbox WHERE status = 'pending' ORDER BY seq"


class SqliteRecording:
    """The `Recording` port; reads are cached for the length of one transaction by being asked once each."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._head = meta.read_head(connection)
        self._standing = meta.read_standing(connection)

    @property
    def head(self) -> LocalHead:
        """The head as this transaction found or left it."""
        return self._head

    @property
    def standing(self) -> Standing:
        """The last checkpoint."""
        return self._standing

    def row(self, entity: str, row_id: str) -> Fields | None:
        """The row as the user sees it."""
        overlay = overlay_fields(self._connection, entity, row_id)
        return base_fields(self._connection, entity, row_id) if overlay is None else overlay

    def append(self, entry: Entry, running: Running, rows: Mapping[RowKey, Fields]) -> None:
        """The next line and its effect on what the user sees."""
        assert entry.seq == self._head.seq + 1, (entry.seq, self._head.seq)
        self._connection.execute(
            _APPEND,
            (
                entry.seq,
                entry.line,
                entry.digest,
                entry.signature,
                entry.at,
                entry.status.value,
                _text(entry.guess.as_dict()),
                encode_keys(entry.reads),
                encode_keys(entry.writes),
                _text([verdict.as_dict() for verdict in entry.earlier]),
            ),
        )
        put_overlay(self._connection, rows)
        self._head = LocalHead(
            seq=entry.seq,
            digest=entry.digest,
            signature=entry.signature,
            at=entry.at,
            totals=running.totals,
            receipts=running.receipts,
        )
        meta.write_head(self._connection, self._head)

    def first_pending(self) -> bytes | None:
        """Found by the index of what is pending."""
        line: bytes | None = self._connection.execute(_FIRST_PENDING).get
        return line

    def saw(self, reading: Reading) -> None:
        """Part of the transaction."""
        meta.saw(self._connection, reading)


def overlay_fields(connection: apsw.Connection, entity: str, row_id: str) -> Fields | None:
    """What pending work has made of a row, if anything."""
    body = connection.execute(_OVERLAY_ROW, (entity, row_id)).get
    return None if body is None else orjson.loads(body)


def base_fields(connection: apsw.Connection, entity: str, row_id: str) -> Fields | None:
    """A row as the server last said."""
    body = connection.execute(_BASE_ROW, (entity, row_id)).get
    return None if body is None else orjson.loads(body)


def put_overlay(connection: apsw.Connection, rows: Mapping[RowKey, Fields]) -> None:
    """Make the overlay show these rows."""
    if rows:
        connection.executemany(_PUT_OVERLAY, [(entity, row_id, _text(row)) for (entity, row_id), row in rows.items()])
        connection.executemany(_COVER, rows)


def drop_overlay(connection: apsw.Connection, keys: Iterable[RowKey]) -> None:
    """Let the overlay show nothing of these rows."""
    cleared = list(keys)
    connection.executemany(_UNLAY, cleared)
    connection.executemany(_UNCOVER, cleared)


def uncover(connection: apsw.Connection) -> None:
    """Let the overlay show nothing at all."""
    connection.execute("DELETE FROM overlay_row")
    connection.execute("UPDATE base_row SET is_covered = 0 WHERE is_covered")


def lines_from(connection: apsw.Connection, seq: int, lines_max: int, bytes_max: int) -> Sequence[OutboxLine]:
    """Lines from a place on without a hole, each with its newline within `bytes_max` together; one if there is any."""
    lines: list[OutboxLine] = []
    for place, line, digest, signature in connection.execute(_LINES_FROM, (seq, lines_max)):
        bytes_max -= len(line) + 1
        if lines and (bytes_max < 0 or place != lines[-1].seq + 1):
            break
        lines.append(OutboxLine(seq=place, line=line, digest=digest, signature=signature))
    return lines


def entries(connection: apsw.Connection, status: LineStatus | None) -> Iterator[Entry]:
    """Kept lines in order."""
    where, bound = (" WHERE status = ?", (status.value,)) if status else ("", ())
    for row in connection.execute(f"{_ENTRIES}{where} ORDER BY seq", bound):
        yield _entry(row)


def told_from(connection: apsw.Connection, seq: int, told_max: int) -> list[Told]:
    """The last verdicts that were told for lines from a place on, without those that were never told one."""
    rows: list[tuple[int, str, int]] = list(connection.execute(_TOLD_FROM, (seq, seq + told_max - 1)))
    told = [(place, orjson.loads(verdict), version) for place, verdict, version in rows]
    return [
        Told(seq=place, status=said["status"], version=version, rule=said.get("rule")) for place, said, version in told
    ]


def rebase(connection: apsw.Connection, head: LocalHead, first: int) -> list[Entry]:
    """Let the chain go on behind `head`, without an overlay; the lines that are let go, from position `first` on."""
    first = min(first, head.seq + 1)
    given = meta.read_head(connection).receipts
    head = replace(head, receipts=max(head.receipts, given))  # a number is given once, whatever is lost
    kept = [entry for entry in entries(connection, None) if entry.seq >= first]
    connection.execute("DELETE FROM outbox WHERE seq >= ?", (first,))
    uncover(connection)
    last: int | None = connection.execute("SELECT max(seq) FROM outbox").get
    if last is None:
        meta.write_before(connection, head.seq, head.digest)
        meta.write_joints(connection, {})
    else:
        joints = {seq: digest for seq, digest in meta.read_joints(connection).items() if seq < last}
        meta.write_joints(connection, joints | {head.seq: head.digest})
    meta.write_head(connection, head)
    if meta.reached(connection, last or 0) == (last or 0):  # else some of what stays has no verdict that counts
        meta.drop(connection, "rewound")
    return kept


def known_before(connection: apsw.Connection, seq: int) -> tuple[int, bytes] | None:
    """The last line before a place that is kept, or that one which is kept follows on from: its place and hash."""
    kept: list[tuple[int, bytes]] = list(connection.execute(_LAST_BEFORE, (seq,)))
    known = dict([meta.read_before(connection), *meta.read_joints(connection).items(), *kept])
    return max((one for one in known.items() if one[0] < seq), default=None)


def first_beyond(connection: apsw.Connection, version: int) -> int | None:
    """The first place whose verdict is of a later version."""
    first: int | None = connection.execute(_FIRST_BEYOND, (version,)).get
    return first


def pending_lines(connection: apsw.Connection) -> dict[int, tuple[bytes, str, str]]:
    """The digest of each pending line, and what it has read and written as that is kept, by place."""
    return {seq: (digest, reads, writes) for seq, digest, reads, writes in connection.execute(_PENDING)}


def encode_keys(keys: Iterable[RowKey]) -> str:
    """Row keys as JSON."""
    return _text([list(key) for key in sorted(keys)])


def decode_keys(text: str) -> frozenset[RowKey]:
    """Row keys from JSON."""
    return frozenset((entity, row_id) for entity, row_id in orjson.loads(text))


def _entry(row: tuple[Any, ...]) -> Entry:
    seq, line, digest, signature, at, status, guess, reads, writes, verdict, version, answered_at, earlier = row
    return Entry(
        seq=seq,
        line=line,
        digest=digest,
        signature=signature,
        at=at,
        status=LineStatus(status),
        guess=read_verdict(orjson.loads(guess)),
        reads=decode_keys(reads),
        writes=decode_keys(writes),
        verdict=read_verdict(orjson.loads(verdict)) if verdict else None,
        version=version,
        answered_at=answered_at,
        earlier=tuple(read_verdict(said) for said in orjson.loads(earlier)),
    )


def _text(value: object) -> str:
    return orjson.dumps(value).decode()
