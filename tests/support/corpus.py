"""The corpus of bad input and the world it is sent to: a real API process, two towns, an admin and devices."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.memory import MemorySystem
from server.api.body import FORM_TYPE, LINES_TYPE
from server.api.parts import Parts, StaffDoor
from server.api.staff import LOOPBACK_COOKIE
from server.application.commands.found_town import found_town
from server.bootstrap import Core, open_parts
from server.stack import Stack
from sync.engine.chain import encode_bytes, line_hash
from tests.support.api_world import ASSERTION_KIND, TOKEN_PATH, ApiWorld, Knocker
from tests.support.corpus_made import BODIES, HELLOS, OPERATIONS
from tests.support.staff_world import PASSWORD, PRODUCT, StaffWorld, TownOfStaff, furnish

CORPUS = Path(__file__).parent.parent / "corpus"
MARK = "MARKER"
"""Stands in the input wherever an answer could repeat it."""

_REPEATED = re.compile(r"<(a|9|headers):(\d+)>")
_NAMED = re.compile(r"<([A-Za-z_]+)>")

Case = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came back: `status code` of a problem, the status alone, `closed`, or the status of a verdict."""

    told: str
    headers: Mapping[str, str]
    body: bytes


def cases() -> Iterator[tuple[str, Case]]:
    """Every case of every file, by a name of its own."""
    for path in sorted(CORPUS.glob("*.toml")):
        for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]:
            yield f"{path.stem}: {case['name']}", case


@dataclass(kw_only=True)
class CorpusWorld:
    """Where the corpus is sent."""

    staff: StaffWorld
    stack: Stack
    cookie: str = ""
    csrf: str = ""
    devices: list[Knocker] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def world(self) -> ApiWorld:
        return self.staff.world

    async def send(self, case: Case) -> Outcome:
        """Send one case; a device that is spoilt by it is not used again."""
        if "raw" in case:
            return await self._send_raw(case)
        if {"line", "change", "ops", "made_ops"} & case.keys():
            return await self._send_line(case)
        try:
            return told(await self._send_request(case))
        except httpx2.TransportError:
            return Outcome(told="closed", headers={}, body=b"")

    async def _send_request(self, case: Case) -> httpx2.Response:
        if {"assertion", "made_token"} & case.keys():
            return await self._ask_token(case)
        if "enrol" in case:
            changes = orjson.loads(self.filled(case["enrol"]))
            return await self.world.enrol(await self.world.code(), Ed25519PrivateKey.generate(), **changes)
        if {"hello", "made_hello"} & case.keys():
            return await self._exchange(self.devices[0], self._hello(case))
        if "to" in case:
            return await self._request(case)
        return await self._exchange(self.devices[0], self._body(case), **case.get("headers", {}))

    async def is_well(self) -> bool:
        """Whether a good change set of the device that sends the corpus is decided, and a good question answered."""
        device = self.devices[0]
        seq, digest = device.seq, device.digest
        answer = await self._exchange(device, self._with_line(device, self._change(device, {})))
        verdict = _verdict(answer)
        if verdict != "refused":  # an operation that a driver may not do: decided, as it should be
            device.seq, device.digest = seq, digest
            return False
        listed = await self._request({"to": "GET /v1/towns/<town>/orders", "as": "admin"})
        return listed.status_code == 200

    def filled(self, text: str) -> str:
        """The text with what stands in pointed brackets put in."""
        here, there, device = self.staff.here, self.staff.there, self.devices[0]
        named = {
            "town": here.id,
            "other_town": there.id,
            "device": device.answer.device_id,
            "other_device": there.device,
            "order": here.order,
            "ORDER": here.order.upper(),
            "other_order": there.order,
            "warehouse": here.warehouse,
            "other_warehouse": there.warehouse,
            "other_driver": there.users["driver"],
            "product": PRODUCT,
            "unknown": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11",
            "same": self.world.new_id(),
            "NEW": self.world.new_id().upper(),
            "seq": str(device.seq),
            "hash": encode_bytes(device.digest),
            "zero_hash": encode_bytes(bytes(32)),
            "sig": device.head_signature(),
            "zeros": encode_bytes(bytes(64)),
        }
        text = _REPEATED.sub(_repeated, text)
        text = re.sub("<new>", lambda _: self.world.new_id(), text)
        return _NAMED.sub(lambda found: named.get(found[1], found[0]), text)

    async def _send_raw(self, case: Case) -> Outcome:
        address = urlsplit(self.stack.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        token = await self._token(self.devices[0])
        head = (
            f"POST /v1/towns/{self.staff.here.id}/exchange HTTP/1.1\r\nHost: x\r\nContent-Type: {LINES_TYPE}\r\n"
            f"Authorization: Bearer {token}\r\n"
        )
        try:
            writer.write(_REPEATED.sub(_repeated, case["raw"].replace("<head>", head)).encode())
            if case.get("hangs_up"):
                writer.write_eof()
            async with asyncio.timeout(20):
                received = await reader.read(65_536)
        except ConnectionError:
            received = b""
        finally:
            writer.close()
        if not received:
            return Outcome(told="closed", headers={}, body=b"")
        top, _, body = received.partition(b"\r\n\r\n")
        return Outcome(told=top.split(b" ", 2)[1].decode(), headers={}, body=body)

    async def _send_line(self, case: Case) -> Outcome:
        device = self.devices.pop() if case.get("spoils") else self.devices[0]
        seq, digest = device.seq, device.digest
        if "line" in case:
            line = self.filled(case["line"]).encode()
        elif "change" in case:
            line = self._change(device, json.loads(self.filled(case["change"])))
        else:
            ops = case.get("ops") or json.dumps(OPERATIONS[case["made_ops"]]())
            line = self._change(device, {}, ops=self.filled(ops).replace("\n", ""))
        answer = await self._exchange(device, self._with_line(device, line))
        if answer.status_code != 200:
            device.seq, device.digest = seq, digest
            return told(answer)
        return Outcome(told=_verdict(answer), headers=answer.headers, body=_verdict_line(answer))

    def _change(self, device: Knocker, changes: Mapping[str, object], ops: str = "") -> bytes:
        """A line that is good but for the changes; by default it asks for what a driver may not do."""
        wish = {"op": "user.add", "id": self.world.new_id(), "name": "E", "login": "e", "user_roles": ["admin"]}
        said = {
            "v": 1,
            "town": device.town_id,
            "device": device.answer.device_id,
            "seq": device.seq + 1,
            "prev": encode_bytes(device.digest),
            "actor": device.answer.user_id,
            "base": 0,
            "epoch": self.world.new_id(),
            "at": "2026-11-21T08:15:02.114Z-0000",
        }
        header = json.dumps(said | dict(changes))[:-1]
        return f'{header}, "ops": {ops or json.dumps([wish])}}}'.encode()

    def _with_line(self, device: Knocker, line: bytes) -> bytes:
        """The body of an exchange with this line next in the device's chain, signed."""
        device.seq, device.digest = device.seq + 1, line_hash(line)
        return b"\n".join([device.hello(1), line, b""])

    def _hello(self, case: Case) -> bytes:
        device = self.devices[0]
        said = orjson.loads(device.hello())
        put = HELLOS[case["made_hello"]]() if "made_hello" in case else json.loads(self.filled(case["hello"]))
        return json.dumps({"hello": said["hello"] | put}).encode()  # this one also writes 2^64

    def _body(self, case: Case) -> bytes | None:
        if "made" in case:
            return BODIES[case["made"]]()
        if "hex" in case:
            return bytes.fromhex(case["hex"])
        return self.filled(case["body"]).encode() if "body" in case else None

    async def _exchange(self, device: Knocker, body: bytes | None, **headers: str) -> httpx2.Response:
        named = {"Content-Type": LINES_TYPE, "Authorization": f"Bearer {await self._token(device)}"} | headers
        return await self.world.client.post(
            f"/v1/towns/{device.town_id}/exchange", content=body, headers={k: v for k, v in named.items() if v}
        )

    async def _token(self, device: Knocker) -> str:
        device_id = device.answer.device_id
        if device_id not in self.tokens:
            self.tokens[device_id] = await device.token()
        return self.tokens[device_id]

    async def _request(self, case: Case) -> httpx2.Response:
        method, _, path = self.filled(case["to"]).partition(" ")
        headers: dict[str, str] = {}
        if (body := self._body(case)) is not None:
            headers["Content-Type"] = "application/json"
        if case.get("as") == "admin":
            headers |= {"Cookie": f"{LOOPBACK_COOKIE}={self.cookie}", "X-CSRF-Token": self.csrf}
        if case.get("as") == "device":
            headers["Authorization"] = f"Bearer {await self._token(self.devices[0])}"
        given = {name: self.filled(value) for name, value in case.get("headers", {}).items()}
        sent = [(name.encode(), value.encode()) for name, value in (headers | given).items()]
        return await self.world.client.request(method, self.stack.url + path, content=body, headers=sent)

    async def _ask_token(self, case: Case) -> httpx2.Response:
        device = self.devices[0]
        if "assertion" in case:
            claims = device.claims() | orjson.loads(self.filled(case["assertion"]).replace("\\ud800", "SURROGATE"))
            said = orjson.dumps(claims).replace(b"SURROGATE", b"\\ud800")
            return await self._ask_with(jwt.PyJWS().encode(said, device.key, "EdDSA"))
        if case["made_token"] == "again":
            assertion = jwt.encode(device.claims(), device.key, algorithm="EdDSA")
            await self._ask_with(assertion)
            return await self._ask_with(assertion)
        return await self._ask_with(_forged(case["made_token"], device))

    async def _ask_with(self, assertion: str) -> httpx2.Response:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_KIND,
            "client_assertion": assertion,
        }
        return await self.world.client.post(TOKEN_PATH, data=form, headers={"Content-Type": FORM_TYPE})


def told(answer: httpx2.Response) -> Outcome:
    """What an answer says."""
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    code = f" {answer.json()['code']}" if is_problem else ""
    return Outcome(told=f"{answer.status_code}{code}", headers=answer.headers, body=answer.content)


@asynccontextmanager
async def corpus_world(stack: Stack, *, devices: int) -> AsyncIterator[CorpusWorld]:
    """Two towns on a running stack, an admin who is signed in, and so many devices."""
    async with open_parts(stack.settings) as core, httpx2.AsyncClient(base_url=stack.url, timeout=60) as client:
        world = ApiWorld(
            parts=_parts(stack, core),
            client=client,
            system=cast("MemorySystem", core.system),
            town_id=await _town(core, "Here"),
            driver_id="",
        )
        staff = StaffWorld(
            world=world, here=TownOfStaff(id=world.town_id), there=TownOfStaff(id=await _town(core, "There"))
        )
        for town in (staff.here, staff.there):
            await furnish(staff, town)
        world.driver_id = staff.here.users["driver"]
        made = CorpusWorld(staff=staff, stack=stack)
        said = {"email": await staff.account((staff.here, "admin")), "password": PASSWORD}
        answer = await client.post("/v1/sessions", json=said)
        made.cookie, made.csrf = answer.cookies[LOOPBACK_COOKIE], answer.json()["csrf_token"]
        client.cookies.clear()
        made.devices = [await world.device() for _ in range(devices)]
        yield made


async def _town(core: Core, name: str) -> str:
    return await found_town(
        name=name, currency="GBP", time_zone="UTC", appliers=core.appliers, signer=core.signer, system=core.system
    )


def _parts(stack: Stack, core: Core) -> Parts:
    """The ports over the stack's database, for what a test does behind the API's back."""

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        yield

    return Parts(
        public_url=stack.url,
        towns=core.towns,
        enrolments=core.enrolments,
        appliers=core.appliers,
        signer=core.signer,
        system=core.system,
        tries=core.people.sessions,
        checks={},
        running=running,
        staff=StaffDoor(
            people=core.people, listings=core.listings, quarantine=core.quarantine, statements=core.statements
        ),
    )


def _repeated(found: re.Match[str]) -> str:
    what, count = found[1], int(found[2])
    if what == "headers":
        return "".join(f"X-{number:06}: a\r\n" for number in range(count))
    return what * count


def _verdict_line(answer: httpx2.Response) -> bytes:
    return next(line for line in answer.content.split(b"\n") if line.startswith(b'{"t":"verdict"'))


def _verdict(answer: httpx2.Response) -> str:
    if answer.status_code != 200:
        return f"{answer.status_code}"
    return str(orjson.loads(_verdict_line(answer))["status"])


def _forged(how: str, device: Knocker) -> str:
    claims, key = device.claims(), device.key
    public_key = key.public_key().public_bytes_raw()
    if how == "none":
        return jwt.encode(claims, "", algorithm="none")
    if how == "hs256":
        return jwt.PyJWS().encode(orjson.dumps(claims), public_key * 2, "HS256")
    if how == "other_key":
        return jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA")
    if how == "kid":
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "../../server.key"})
    if how == "deep":
        said = orjson.dumps(claims)[:-1] + b',"x":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
        return jwt.PyJWS().encode(said, key, "EdDSA")
    return "x.y.z" if how == "text" else "A" * 12_000
