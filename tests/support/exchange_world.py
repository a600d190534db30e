"""One device with a real replica file, and a server that says what the test wants: the stage of the exchange tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.adapters.http import HttpTransport
from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.application.exchange import SyncReport, sync_to_quiet
from client_sdk.application.ports import Entry, Identity, LineStatus, Running
from sync.engine.chain import encode_bytes, head_message, line_hash, sign
from sync.engine.feed import BucketSum
from sync.kernel.changeset import Status, Verdict
from sync.kernel.ids import derived_id
from sync.modules import registry
from tests.support.fake_server import Answer, FakeServer, Town, fake_server
from tests.support.still_system import StillSystem

DEVICE = derived_id("device", 1)
PRODUCTS = [derived_id("product", number) for number in range(4)]


class World:
    """One device, its replica file, and a server that says what the test wants."""

    def __init__(self, path: Path, server: FakeServer) -> None:
        self.path = path
        self.server = server
        self.town = Town()
        self.system = StillSystem()
        self.store = self.open()
        self.key = self.store.device_key()
        self.store.enrolled(self.identity(self.key))
        self.transport = HttpTransport(server.url, self.system, self.store.identity())

    def open(self) -> SqliteStore:
        return SqliteStore(self.path, bytes(32), registry(), self.system, may_create=True)

    def identity(self, key: Ed25519PrivateKey) -> Identity:
        public_key = encode_bytes(self.town.key.public_key().public_bytes_raw())
        self.server.keys = [{"kid": "one", "public_key": public_key}]
        return Identity(
            server_url=self.server.url,
            device_id=DEVICE,
            town_id=self.town.id,
            town_name="Ashford",
            currency="GBP",
            role="driver",
            user_id=None,
            certificate="header.claims.signature",
            server_keys={"one": public_key},
            key=key,
        )

    def record(self, count: int = 1) -> None:
        """Append `count` lines to the chain."""
        for _ in range(count):
            with self.store.recording() as recording:
                seq, prev = recording.head.seq + 1, encode_bytes(recording.head.digest)
                line = orjson.dumps({"v": 1, "device": DEVICE, "seq": seq, "prev": prev})
                digest = line_hash(line)
                entry = Entry(
                    seq=seq,
                    line=line,
                    digest=digest,
                    signature=sign(self.key, head_message(DEVICE, seq, digest)),
                    at="2026-11-21T12:00:00.000Z-0000",
                    status=LineStatus.PENDING,
                    guess=Verdict(status=Status.ACCEPTED),
                    reads=frozenset(),
                    writes=frozenset(),
                )
                recording.append(entry, Running(), {})

    def digest(self, seq: int) -> bytes:
        return self.store.outbox_from(seq, lines_max=1, bytes_max=1)[0].digest

    def good(self, version: int, verdicts: range = range(0), acked: int | None = None) -> Answer:
        """A good answer: verdicts, product number `version` of the town, and a final checkpoint."""
        before = verdicts.start - 1 if verdicts else 0
        return Answer(
            lines=[
                self.town.welcome(before if acked is None else acked),
                *(self.town.verdict(seq, self.digest(seq), version) for seq in verdicts),
                self.town.bucket("town"),
                self.rows(version),
                self.final(version),
            ]
        )

    def rows(self, version: int) -> bytes:
        put = [[PRODUCTS[version % 4], version, {"name": f"product of {version}"}]]
        return self.town.rows("town", "product", put)

    def final(self, version: int, *held: int) -> bytes:
        """A final checkpoint when the town bucket holds the rows of `held` versions (or all up to this one)."""
        total = BucketSum()
        for one in held or range(1, version + 1):
            total = total.with_row("product", PRODUCTS[one % 4], one)
        mark = {"version": version, "rows": total.rows, "sum": f"{total.total:016x}"}
        return self.town.checkpoint(version, {"town": mark})

    def more(self, version: int) -> bytes:
        """An intermediate checkpoint after the rows of `version`."""
        return self.town.checkpoint(version, {"town": {"version": version}}, more=True)

    def whole(self) -> list[bytes]:
        """A good answer in two pages to two lines sent."""
        return [
            self.town.welcome(),
            self.town.verdict(1, self.digest(1), 1),
            self.town.verdict(2, self.digest(2), 1),
            self.town.bucket("town", "added"),
            self.rows(1),
            self.more(1),
            self.rows(2),
            self.final(2),
        ]

    def at(self, step: str, action: Callable[[], object]) -> None:
        """Let something happen once, at a named step of the exchange."""

        def happen() -> None:
            del self.system.armed[step]
            action()

        self.system.armed[step] = happen

    def sync(self) -> SyncReport:
        return sync_to_quiet(self.store, self.transport, self.system, app="test")

    def names(self) -> list[str]:
        return sorted(str(fields["name"]) for _, fields in self.store.base_rows("product"))

    def pending(self) -> list[int]:
        return [entry.seq for entry in self.store.entries(LineStatus.PENDING)]


@contextmanager
def exchange_world(directory: Path) -> Iterator[World]:
    """A device that has just been enrolled, beside its server."""
    with fake_server() as server:
        made = World(directory / "van.db", server)
        yield made
        made.store.close()
        made.transport.close()
