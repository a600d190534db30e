"""The whole HTTP edge over a real database, with time that stands still: a town, a driver, devices that knock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from server.adapters.memory import MemoryEnrolments, MemorySystem, SilentBell
from server.adapters.memory_blobs import MemoryBlobs
from server.adapters.memory_hints import MemoryHints
from server.adapters.memory_statements import NoStatements
from server.adapters.postgres.account_book import PostgresAccountBook
from server.adapters.postgres.accounts import PostgresAccounts, PostgresSessions
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.listings import PostgresListings
from server.adapters.postgres.outbox import PostgresInbox
from server.adapters.postgres.receipts import PostgresReceipts
from server.adapters.postgres.sealed import PostgresQuarantine, PostgresSealedUploads
from server.adapters.postgres.shop import PostgresShop
from server.adapters.postgres.snapshots import PostgresSnapshots
from server.adapters.postgres.towns import PostgresTowns
from server.adapters.seals import KeySealer
from server.api.app import create_app
from server.api.body import BodyLimits
from server.api.parts import CallbackDoor, LiveDoor, Parts, ShopDoor, SnapshotDoor, StaffDoor
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.enrol_device import make_enrolment
from server.application.commands.found_town import found_town
from server.application.people import People
from server.application.queries.statements import Statements
from server.domain.devices import server_device_id
from sync.engine.chain import encode_bytes, genesis_hash, head_message, line_hash, sign
from sync.kernel.changeset import ChangeSet, Operation
from sync.kernel.clock import Hlc, format_time
from sync.kernel.ids import make_id
from sync.modules import registry
from sync.modules.identity import AddUser
from sync.protocol.codec import encode_change_set
from sync.protocol.messages import EnrolAnswer, enrol_message
from sync.protocol.version import SCHEMA
from tests.support.papers import paper_desk

PUBLIC_URL = "http://sync.example"
TOKEN_PATH = "/v1/oauth/token"
ASSERTION_KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(kw_only=True)
class Knocker:
    """A device as the edge sees it: a key, what enrolment answered, and its chain so far."""

    world: ApiWorld
    key: Ed25519PrivateKey
    answer: EnrolAnswer
    seq: int = 0
    digest: bytes = b""

    def __post_init__(self) -> None:
        self.digest = genesis_hash(self.answer.certificate)

    @property
    def town_id(self) -> str:
        return self.answer.town.id

    def claims(self, **changes: object) -> dict[str, Any]:
        """The claims of a good assertion, changed."""
        now_seconds = self.world.system.now_ms() // 1000
        said = {
            "iss": self.answer.device_id,
            "sub": self.answer.device_id,
            "aud": self.world.parts.public_url + TOKEN_PATH,
            "town": self.town_id,
            "jti": self.world.new_id(),
            "iat": now_seconds,
            "exp": now_seconds + 55,
        }
        return said | changes

    async def ask_token(self, **changes: object) -> httpx2.Response:
        return await self.world.ask_token(jwt.encode(self.claims(**changes), self.key, algorithm="EdDSA"))

    async def token(self) -> str:
        answer = await self.ask_token()
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def line(self, *operations: Operation, receipt: int | None = None) -> bytes:
        """The next line of the device's chain."""
        change_set = ChangeSet(
            town=self.town_id,
            device=self.answer.device_id,
            seq=self.seq + 1,
            prev=encode_bytes(self.digest),
            actor=self.answer.user_id or self.answer.device_id,
            base=0,
            epoch=self.world.new_id(),
            at=str(Hlc(unix_ms=self.world.system.now_ms(), counter=0)),
            ops=operations,
            receipt=receipt,
        )
        line = encode_change_set(change_set)
        self.seq, self.digest = self.seq + 1, line_hash(line)
        return line

    def hello(self, lines: int = 0, **changes: object) -> bytes:
        """The hello line for an exchange that ends with the last line made."""
        said: dict[str, Any] = {
            "protocol": 1,
            "schema": SCHEMA,
            "sdk": "0.1.0",
            "app": "test",
            "clock": format_time(self.world.system.now_ms()),
            "epoch": None,
            "cursors": {},
            "head": {"seq": self.seq, "hash": encode_bytes(self.digest), "sig": self.head_signature()},
            "from_seq": self.seq - lines + 1,
            "pending": lines,
            "witness": None,
        }
        return orjson.dumps({"hello": said | changes})

    def head_signature(self) -> str:
        return sign(self.key, head_message(self.answer.device_id, self.seq, self.digest))

    async def exchange(
        self, *lines: bytes, hello: bytes | None = None, town_id: str | None = None, **headers: str
    ) -> httpx2.Response:
        body = b"\n".join([hello or self.hello(len(lines)), *lines, b""])
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.world.client.post(
            f"/v1/towns/{town_id or self.town_id}/exchange",
            content=body,
            headers={"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {await self.token()}"} | named,
        )


@dataclass(kw_only=True)
class ApiWorld:
    """The application, a client of it, one town with one driver."""

    parts: Parts
    client: httpx2.AsyncClient
    system: MemorySystem
    town_id: str
    driver_id: str
    keys: list[Ed25519PrivateKey] = field(default_factory=list)

    def new_id(self) -> str:
        return make_id(self.system.now_ms(), self.system.random(10))

    async def author(self, *operations: Operation) -> dict[str, Any]:
        verdict = await self.parts.appliers.author(self.town_id, server_device_id(self.town_id), operations)
        said: dict[str, Any] = orjson.loads(verdict)
        return said

    async def code(self) -> str:
        """A fresh enrolment code for a device of the driver."""
        code, _ = await make_enrolment(
            town_id=self.town_id,
            role="driver",
            user_id=self.driver_id,
            warehouse_id=None,
            enrolments=self.parts.enrolments,
            towns=self.parts.towns,
            system=self.system,
        )
        return code

    async def enrol(self, code: str, key: Ed25519PrivateKey, **changes: object) -> httpx2.Response:
        public_key = encode_bytes(key.public_key().public_bytes_raw())
        proof = sign(key, enrol_message(code, public_key))
        said = {"code": code, "public_key": public_key, "proof": proof, "name": "Van 3"} | changes
        return await self.client.post(
            "/v1/devices", content=orjson.dumps(said), headers={"Content-Type": "application/json"}
        )

    async def device(self) -> Knocker:
        key = Ed25519PrivateKey.generate()
        answer = await self.enrol(await self.code(), key)
        assert answer.status_code == 201, answer.text
        return Knocker(world=self, key=key, answer=EnrolAnswer.model_validate_json(answer.content))

    async def ask_token(self, assertion: str, **changes: str) -> httpx2.Response:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_KIND,
            "client_assertion": assertion,
        }
        return await self.client.post(TOKEN_PATH, data=form | changes)


def _staff_door(pool: Any, people: People) -> StaffDoor:
    return StaffDoor(
        people=people,
        listings=PostgresListings(pool),
        quarantine=PostgresQuarantine(pool),
        statements=Statements(book=PostgresAccountBook(pool), cache=NoStatements()),
    )


@asynccontextmanager
async def api_world(
    database_url: str, *, body_limits: BodyLimits | None = None, **changes: Any
) -> AsyncIterator[ApiWorld]:
    """The application over a migrated database, with a town of its own."""
    system = MemorySystem(seed=int.from_bytes(Ed25519PrivateKey.generate().private_bytes_raw()[:8]))
    signer = KeySigner(Ed25519PrivateKey.generate())
    pool = make_pool(database_url)
    await pool.open()
    towns = PostgresTowns(pool)
    hints = MemoryHints()
    bell = SilentBell()
    appliers = Appliers(towns=towns, registry=registry(), signer=signer, system=system, bell=bell, hints=hints)

    accounts, sessions = PostgresAccounts(pool), PostgresSessions(pool)
    people = People(accounts=accounts, sessions=sessions, sealer=KeySealer(signer, system), system=system)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        yield

    named: Mapping[str, Any] = {
        "public_url": PUBLIC_URL,
        "towns": towns,
        "enrolments": MemoryEnrolments(),
        "appliers": appliers,
        "signer": signer,
        "system": system,
        "tries": people.sessions,
        "checks": {},
        "running": running,
        "live": LiveDoor(hints=hints),
        "snapshots": SnapshotDoor(snapshots=PostgresSnapshots(pool), blobs=MemoryBlobs(system)),
        "staff": _staff_door(pool, people),
        "shop": ShopDoor(shop=PostgresShop(pool), listings=PostgresListings(pool), tracking_secrets=(bytes(32),)),
        "sealed": PostgresSealedUploads(pool),
        "callbacks": CallbackDoor(inbox=PostgresInbox(pool), bell=bell, secrets=(bytes(32),)),
        "receipts": PostgresReceipts(pool),
        "papers": paper_desk(pool, system, bell=bell),
        "body_limits": body_limits or BodyLimits(),
    }
    parts = Parts(**(dict(named) | changes))
    try:
        town_id = await found_town(
            name="Douglas",
            currency="GBP",
            time_zone="Europe/Isle_of_Man",
            appliers=appliers,
            signer=signer,
            system=system,
        )
        driver = AddUser(id=make_id(system.now_ms(), system.random(10)), name="Ada", login="ada", user_roles=["driver"])
        await appliers.author(town_id, server_device_id(town_id), [driver])
        address = ".".join(str(byte) for byte in (10, *system.random(3)))  # nobody else's: failed tries are counted
        transport = httpx2.ASGITransport(app=create_app(parts), raise_app_exceptions=False, client=(address, 1))
        async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL) as client:
            yield ApiWorld(parts=parts, client=client, system=system, town_id=town_id, driver_id=driver.id)
    finally:
        await pool.close()
