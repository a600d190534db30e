"""The `Store` port over one encrypted SQLite file, safe for threads and for several processes.

Two connections: one writes, under a lock, in transactions that hold SQLite's write lock from the start; the other only
reads and is what apps query, so a long checkpoint never blocks a screen. The device's key is sealed a second time
inside the file, so that no query can show it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from client_sdk.adapters.keys import erase
from client_sdk.adapters.sqlite import downloads, meta, outbox, reading
from client_sdk.adapters.sqlite.connection import connect, translated, writing
from client_sdk.adapters.sqlite.downloads import SqliteDownloads
from client_sdk.adapters.sqlite.schema import prepare, rules_told
from client_sdk.adapters.sqlite.settle import Settling, relay
from client_sdk.application.answer import read_line
from client_sdk.application.lease_ports import Reading
from client_sdk.application.ports import (
    Contact,
    Entry,
    ExchangeState,
    Identity,
    LineStatus,
    LocalHead,
    OutboxLine,
    Rebasing,
    Row,
    Settled,
    Standing,
    System,
)
from client_sdk.application.verify_ports import Contents
from client_sdk.errors import AlreadyEnrolled, NotEnrolled, ReplicaClosed, ReplicaWiped, StaleExchange
from sync.engine.chain import decode_bytes, encode_bytes, genesis_hash
from sync.kernel.changeset import Fields
from sync.kernel.clock import format_time
from sync.kernel.module import Registry
from sync.protocol.messages import BucketLine, Checkpoint, Told, Welcome

_SEED = b"tallystick/device-seed/1"
_SEED_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_FIRST_PENDING = "SELECT min(seq) FROM outbox WHERE status = 'pending'"
_PENDING_COUNT = "SELECT count(*) FROM outbox WHERE status = 'pending'"
# A bucket that did not add up has no cursor (`pages.PageWriter`): what it holds counts for nothing.
_CURSORS = "SELECT name, cursor FROM bucket WHERE cursor > 0"
_JUDGED_BY = "judged_by"
_SPOOL = "INSERT INTO spool (line) VALUES (?)"


class SqliteStore:
    """The replica's database."""

    def __init__(self, path: Path, key: bytes, registry: Registry, system: System, *, may_create: bool = False) -> None:
        self._path = path
        self._key = key
        self._registry = registry
        self._system = system
        self._lock = threading.RLock()
        self._reading_lock = threading.Lock()
        self._identity: Identity | None = None
        self._is_closed = self._is_wiped = False
        self.downloads = SqliteDownloads(self._reading, self._writing)
        self._writer = connect(path, key, may_create=may_create)
        try:
            with translated():
                prepare(self._writer, registry, may_create=may_create)
            self._reader = connect(path, key, may_create=False)
            reading.allow_reading_only(self._reader)
        except BaseException:
            self._writer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock, self._reading_lock, translated():
            self._is_closed = True
            self._reader.close()
            self._writer.close()

    def judge_anew(self) -> None:
        """After an update of the app: what is pending shows what the rules of now make of it, without a network."""
        rules = rules_told(self._registry)
        with self._reading() as connection:
            is_due = meta.get(connection, _JUDGED_BY) != rules and connection.execute(_FIRST_PENDING).get is not None
        if is_due:
            identity = self.identity()
            with self._writing():
                outbox.uncover(self._writer)
                relay(self._writer, identity, self._registry)
                meta.put(self._writer, _JUDGED_BY, rules)

    # Identity -----------------------------------------------------------------------------------------------------

    def device_key(self) -> Ed25519PrivateKey:
        """The device's key pair, made once when it is first asked for."""
        with self._writing():
            sealed = meta.get(self._writer, "device_key")
            if sealed is None:
                seed, nonce = self._system.random(_SEED_BYTES), self._system.random(_NONCE_BYTES)
                closed = ChaCha20Poly1305(self._key).encrypt(nonce, seed, _SEED)
                meta.put(self._writer, "device_key", [encode_bytes(nonce), encode_bytes(closed)])
                return Ed25519PrivateKey.from_private_bytes(seed)
        nonce, closed = decode_bytes(sealed[0], _NONCE_BYTES), decode_bytes(sealed[1], _SEED_BYTES + _TAG_BYTES)
        return Ed25519PrivateKey.from_private_bytes(ChaCha20Poly1305(self._key).decrypt(nonce, closed, _SEED))

    def is_enrolled(self) -> bool:
        """Whether `identity` has something to say."""
        with self._reading() as connection:
            return meta.get(connection, "identity") is not None

    def enrolled(self, identity: Identity) -> None:
        """Keep who this replica is, and begin its chain at the certificate."""
        said = {name: getattr(identity, name) for name in _IDENTITY} | {"server_keys": dict(identity.server_keys)}
        genesis = genesis_hash(identity.certificate)
        with self._writing():
            if meta.get(self._writer, "identity") is not None:
                raise AlreadyEnrolled
            meta.put(self._writer, "identity", said)
            meta.put(self._writer, _JUDGED_BY, rules_told(self._registry))
            meta.write_before(self._writer, 0, genesis)
            meta.write_head(self._writer, LocalHead(seq=0, digest=genesis, signature="", at=None, totals={}))

    def identity(self) -> Identity:
        """Who this replica is; raise `NotEnrolled`."""
        if self._identity is None:
            with self._reading() as connection:
                said = meta.get(connection, "identity")
                is_wiped = meta.get(connection, meta.WIPED) is not None
            if said is None:
                raise ReplicaWiped if is_wiped else NotEnrolled
            self._identity = Identity(**said, key=self.device_key())
        return self._identity

    def trust(self, server_keys: Mapping[str, str], sealing_key: str | None) -> None:
        """Keep the server's keys beside who this replica is."""
        with self._writing():
            said = meta.get(self._writer, "identity") or {}
            heard = {"server_keys": dict(server_keys), "sealing_key": sealing_key}
            meta.put(self._writer, "identity", {**said, **heard})
        self._identity = None

    def wipe(self, head_seq: int) -> None:
        """Empty the file for every process that has it open, then destroy its key and the file."""
        at = format_time(self._system.now_ms())
        with self._writing():
            if meta.read_head(self._writer).seq != head_seq:
                raise StaleExchange
            meta.empty(self._writer, at)
        self._identity, self._is_wiped = None, True
        self.close()
        erase(self._path, at, self._system.reached)

    # Exchange -----------------------------------------------------------------------------------------------------

    def exchange_state(self) -> ExchangeState:
        """Where this replica stands, with what is spooled counted as held."""
        with self._snapshot() as connection:
            return _exchange_state(connection)

    def outbox_from(self, seq: int, *, lines_max: int, bytes_max: int) -> Sequence[OutboxLine]:
        """Recorded lines from a place on, within the limits."""
        with self._reading() as connection:
            return outbox.lines_from(connection, seq, lines_max, bytes_max)

    def spool(self, state: ExchangeState, lines: Sequence[bytes], checkpoint: Checkpoint) -> ExchangeState:
        """Keep an intermediate page as it came."""
        with self._writing():
            now = _fresh(self._writer, state)
            cursors = dict(now.cursors) if now.epoch == checkpoint.epoch else {}
            for line in lines:
                said = read_line(line)
                if isinstance(said, BucketLine) and said.state != "kept":
                    cursors.pop(said.b, None)
            cursors |= {name: mark.version for name, mark in checkpoint.buckets.items()}
            self._writer.executemany(_SPOOL, [(line,) for line in lines])
            meta.put(self._writer, "spool", {"epoch": checkpoint.epoch, "cursors": cursors})
            meta.write_signed(self._writer, checkpoint)
            meta.next_generation(self._writer)
            return _exchange_state(self._writer)

    def settle(self, state: ExchangeState, welcome: Welcome, lines: Iterable[bytes], checkpoint: Checkpoint) -> Settled:
        """Take a checkpoint, whole."""
        identity, contact = self.identity(), self._contact(welcome)
        with self._writing():
            _fresh(self._writer, state)
            settling = Settling(self._writer, identity, self._registry, welcome, contact)
            self._system.reached("settle.begin")
            settled = settling.take(_all_lines(self._writer, lines), checkpoint)
            _forget_spool(self._writer)
            meta.forget_heard(self._writer)
            downloads.accept(self._writer)
            self._system.reached("settle.before_commit")
        self._system.reached("settle.after_commit")
        return settled

    def drop_spool(self) -> None:
        """Forget spooled pages; an exchange that counted on them becomes stale."""
        with self._writing():
            if meta.get(self._writer, "spool") is not None:
                _forget_spool(self._writer)

    def rewind(self, acked: int) -> None:
        """Keep where the server stands, as far back as it was found since the last checkpoint."""
        with self._writing():
            meta.write_rewound(self._writer, acked)
            _forget_spool(self._writer)

    def known_before(self, seq: int) -> tuple[int, bytes] | None:
        """Of lines that are kept, and of those that they follow on from."""
        with self._snapshot() as connection:
            return outbox.known_before(connection, seq)

    def first_beyond(self, version: int) -> int | None:
        """Of what is answered."""
        with self._reading() as connection:
            return outbox.first_beyond(connection, version)

    def told_from(self, seq: int, told_max: int) -> Sequence[Told]:
        """Of answered lines the verdict, of those that are pending again the last one before."""
        with self._reading() as connection:
            return outbox.told_from(connection, seq, told_max)

    @contextmanager
    def rebasing(self, state: ExchangeState, head: LocalHead, first: int) -> Iterator[Rebasing]:
        """One transaction in which the chain goes on behind another head."""
        identity = self.identity()
        with self._writing():
            _fresh(self._writer, state)
            self._system.reached("reauthor.begin")
            kept = outbox.rebase(self._writer, head, first)
            relay(self._writer, identity, self._registry)
            _forget_spool(self._writer)
            yield Rebasing(recording=outbox.SqliteRecording(self._writer), kept=kept, registry=self._registry)
            self._system.reached("reauthor.before_commit")
        self._system.reached("reauthor.after_commit")

    # Recording ----------------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[outbox.SqliteRecording]:
        """One transaction that appends to the chain."""
        with self._writing():
            yield outbox.SqliteRecording(self._writer)

    # Reading ------------------------------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """The last checkpoint."""
        with self._reading() as connection:
            return meta.read_standing(connection)

    def saw(self, reading: Reading) -> None:
        """Keep the latest time."""
        with self._writing():
            meta.saw(self._writer, reading)

    def pending_count(self) -> int:
        """How many lines the server has not answered."""
        with self._reading() as connection:
            return int(connection.execute(_PENDING_COUNT).get)

    def row(self, entity: str, row_id: str) -> Row | None:
        """One row as the user sees it."""
        with self._snapshot() as connection:
            return reading.row(connection, entity, row_id)

    def base_rows(self, entity: str) -> Sequence[tuple[str, Fields]]:
        """All base rows of an entity, by id."""
        with self._reading() as connection:
            return reading.base_rows(connection, entity)

    def query(self, sql: str, parameters: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """The rows of one reading statement."""
        with self._reading() as connection:
            return reading.query(connection, sql, parameters)

    def entries(self, status: LineStatus | None = None) -> Sequence[Entry]:
        """Recorded lines by place."""
        with self._reading() as connection:
            return list(outbox.entries(connection, status))

    def dismissed(self) -> frozenset[str]:
        """What the user has seen."""
        with self._reading() as connection:
            return frozenset(key for (key,) in connection.execute("SELECT key FROM dismissed"))

    def dismiss(self, key: str) -> None:
        """Keep that the user has seen this."""
        with self._writing():
            self._writer.execute("INSERT OR IGNORE INTO dismissed VALUES (?)", (key,))

    def contents(self) -> Contents:
        """Everything that `verify` compares."""
        with self._snapshot() as connection:
            return reading.contents(connection)

    # Helpers ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        with self._lock:
            if self._is_closed:
                raise ReplicaWiped if self._is_wiped else ReplicaClosed
            with writing(self._writer):
                yield self._writer

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """The reading connection; each statement sees the last commit."""
        with self._reading_lock:
            if self._is_closed:
                raise ReplicaWiped if self._is_wiped else ReplicaClosed
            with translated():
                yield self._reader

    @contextmanager
    def _snapshot(self) -> Iterator[apsw.Connection]:
        """The reading connection; all statements see one commit."""
        with self._reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def _contact(self, welcome: Welcome) -> Contact:
        return Contact(
            server_time=welcome.time,
            device_ms=self._system.now_ms(),
            monotonic_ms=self._system.monotonic_ms(),
            boot=self._system.boot_id(),
        )


_IDENTITY = (
    *("server_url", "device_id", "town_id", "town_name", "currency", "role", "user_id", "certificate"),
    "sealing_key",
)


def _exchange_state(connection: apsw.Connection) -> ExchangeState:
    head, spool = meta.read_head(connection), meta.get(connection, "spool")
    epoch = spool["epoch"] if spool else meta.read_standing(connection).epoch
    witness = meta.read_witness(connection, epoch)
    first_pending = connection.execute(_FIRST_PENDING).get
    held: list[tuple[str, int]] = list(connection.execute(_CURSORS))
    return ExchangeState(
        generation=meta.read_generation(connection),
        epoch=epoch,
        version=witness[0] if witness else 0,
        cursors=spool["cursors"] if spool else dict(held),
        acked=meta.reached(connection, head.seq if first_pending is None else first_pending - 1),
        head_seq=head.seq,
        pending=connection.execute(_PENDING_COUNT).get,
        witness=witness,
        witness_signature=meta.read_witness_signature(connection, epoch),
    )


def _fresh(connection: apsw.Connection, state: ExchangeState) -> ExchangeState:
    """What stands now, when it is still what the exchange began with."""
    now = _exchange_state(connection)
    if now.generation != state.generation:
        raise StaleExchange
    return now


def _forget_spool(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM spool")
    downloads.forget(connection)
    meta.drop(connection, "spool")
    meta.next_generation(connection)


def _all_lines(connection: apsw.Connection, lines: Iterable[bytes]) -> Iterator[bytes]:
    spooled = (line for (line,) in connection.execute("SELECT line FROM spool ORDER BY seq"))
    return downloads.expanded(connection, itertools.chain(spooled, lines))
