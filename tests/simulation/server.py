"""The server processes of a world: the real edge and the real commands, over one database, dying wherever they wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from server.adapters.keys import KeySigner
from server.api.admission import Exchanges
from server.api.exchange import post_exchange
from server.api.parts import Parts, SnapshotDoor
from server.api.problems import answer_fault
from server.api.snapshots import get_snapshot
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.begin_epoch import begin_epoch
from server.application.commands.enrol_device import enrol
from server.application.commands.settle_payments import PaymentDesk
from server.application.commands.work_off_outbox import work_off_outbox
from server.application.queries.statements import Statements, tell_changes
from server.application.rate_ports import Tries
from server.application.rates import RateLimits
from server.domain.access import DeviceCaller
from server.domain.rates import Rates
from sync.kernel.errors import TallystickError
from sync.protocol.messages import EnrolAnswer, EnrolRequest
from tests.simulation.books import MemoryBooks
from tests.simulation.database import Connection, Database, ProcessTowns
from tests.simulation.enrolments import ProcessEnrolments
from tests.simulation.faults import Faults
from tests.simulation.files import FileKeeper, ProcessBlobs, ProcessSnapshots
from tests.simulation.loop import RUNS_IN, START_MS, Mortal, SimLoop
from tests.simulation.provider import Provider
from tests.simulation.redis import WorldRedis, hints, statement_cache
from tests.simulation.rules import SERVER_RULES

Result = TypeVar("Result")

PUBLIC_URL = "https://sync.example"
LINES_TYPE = b"application/x-ndjson"
RESTART_SECONDS = (0.5, 60.0)
FOREVER_SECONDS = 1 << 40
SECRET_BYTES = 32


class ProcessDied(BaseException):
    """Raised where a process dies, so that nothing of it goes on; nobody is there to catch it."""


class Surroundings(Protocol):
    """What a process needs of its world."""

    loop: SimLoop
    faults: Faults
    database: Database
    signer: KeySigner
    provider: Provider
    redis: WorldRedis

    def random(self, name: str) -> Random:
        """A source of chance of its own."""
        ...

    def sometimes(self, what: str) -> None:
        """This has happened."""
        ...

    def process_died(self, process: Process) -> None:
        """Somebody has to start another one."""
        ...


class ServerSystem:
    """The `System` of one process."""

    def __init__(self, around: Surroundings, process: Process, skew_seconds: float) -> None:
        self._around = around
        self._process = process
        self._skew_ms = round(skew_seconds * 1000)
        self._random = around.random(f"server {process.number}")

    def now_ms(self) -> int:
        """The world's time, a little off."""
        return START_MS + round(self._around.loop.now * 1000) + self._skew_ms

    def random(self, size: int) -> bytes:
        """Drawn."""
        return self._random.randbytes(size)

    def reached(self, failpoint: str) -> None:
        """The process may die here."""
        self._around.sometimes(f"step {failpoint}")
        if self._process.is_alive and self._around.faults.strikes("server.killed_at_step", failpoint):
            self._process.die()
            raise ProcessDied


@dataclass(eq=False)
class Pipe:
    """An answer on its way: bytes as they are sent, and whether more can come."""

    chunks: list[bytes] = field(default_factory=list)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    is_over: bool = False
    is_broken: bool = False
    wake: Callable[[], None] = lambda: None

    def stop(self, *, is_broken: bool) -> None:
        """Nothing more comes."""
        if not self.is_over:
            self.is_over, self.is_broken = True, is_broken
            self.wake()


class Process(Mortal):
    """One API process with everything that it keeps in memory."""

    def __init__(self, around: Surroundings, number: int, *, page_rows: int, skew_seconds: float) -> None:
        self.number = number
        self._around = around
        self._pipes: list[Pipe] = []
        self._calls: list[Callable[[], None]] = []
        self._context: Context = copy_context()
        self._context.run(RUNS_IN.set, self)
        self.system = ServerSystem(around, self, skew_seconds)
        connection = Connection(
            around.database,
            self,
            may_die=self.may_die,
            faults=around.faults,
            loop=around.loop,
            random=around.random(f"connection {number}"),
        )
        self.connection = connection
        self.towns = ProcessTowns(connection)
        cache = statement_cache(around.redis, around.loop)
        self.enrolments = ProcessEnrolments(connection)
        self.appliers = Appliers(
            towns=self.towns,
            registry=SERVER_RULES,
            signer=around.signer,
            system=self.system,
            bell=_Bell(around),
            hints=hints(around.redis, around.loop),
            committed=partial(tell_changes, cache),
        )
        self.books = MemoryBooks(connection)
        self.statements = Statements(book=self.books, cache=cache)
        self.desk = PaymentDesk(
            momo=around.provider,
            card=around.provider,
            towns=self.towns,
            appliers=self.appliers,
            system=self.system,
            public_url=PUBLIC_URL,
            callback_secret=bytes(SECRET_BYTES),
        )
        self.files = FileKeeper(
            towns=self.towns,
            snapshots=ProcessSnapshots(connection, around),
            blobs=ProcessBlobs(connection),
            system=self.system,
        )
        self.parts = self._parts(page_rows)
        self._app = SimpleNamespace(state=SimpleNamespace(parts=self.parts))

    def _parts(self, page_rows: int) -> Parts:
        loop = self._around.loop
        return Parts(
            public_url=PUBLIC_URL,
            towns=self.towns,
            enrolments=self.enrolments,
            appliers=self.appliers,
            signer=self._around.signer,
            system=self.system,
            tries=cast("Tries", None),
            checks={},
            running=_running,
            exchanges=Exchanges(monotonic=loop.time),
            rates=RateLimits(Rates(device_per_minute=0, address_per_minute=0, town_per_minute=0), monotonic=loop.time),
            page_rows=page_rows,
            snapshots=SnapshotDoor(snapshots=self.files.snapshots, blobs=self.files.blobs),
        )

    def may_die(self) -> None:
        """Perhaps it dies now."""
        if self._around.faults.strikes("server.killed", f"process {self.number}"):
            self.die()
            raise ProcessDied

    def die(self) -> None:
        """The power goes: nothing of it runs any more, its connections are cut."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.connection.cut()
        for pipe in self._pipes:
            pipe.stop(is_broken=True)
        for call in self._calls:
            call()
        self._around.process_died(self)

    def exchange(self, device: DeviceCaller, body: bytes) -> Pipe:
        """One request at the door of `/exchange`; its answer comes through the pipe."""
        request = self._request("POST", "exchange", device, body, content_type=LINES_TYPE)
        return self._answered(request, lambda: post_exchange(request, device.town_id))

    def download(self, device: DeviceCaller, sha256: str, start: int) -> Pipe:
        """One request for a file from a place on."""
        request = self._request("GET", f"snapshots/{sha256}", device, b"", range=f"bytes={start}-".encode())
        return self._answered(request, lambda: get_snapshot(request, device.town_id, sha256))

    async def enrolled(self, request: EnrolRequest) -> EnrolAnswer:
        """What is answered to a machine that wants to be a device."""
        parts = self.parts
        return await enrol(
            request,
            enrolments=parts.enrolments,
            appliers=parts.appliers,
            towns=parts.towns,
            signer=parts.signer,
            system=parts.system,
        )

    async def begin_epoch(self, town_id: str, reason: str) -> str:
        """What an admin does at the command line."""
        return await begin_epoch(town_id, reason, appliers=self.appliers, towns=self.towns)

    def call(self, work: Coroutine[Any, Any, Result], on_end: Callable[[], None]) -> asyncio.Task[Result]:
        """Have somebody of the office do this here; `on_end` is called when it is done, or the process is dead."""
        task = self._start(work)
        self._calls.append(on_end)
        task.add_done_callback(lambda _: on_end(), context=Context())
        return task

    def _start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        return self._context.copy().run(self._around.loop.create_task, work)

    def _answered(self, request: Request, work: Callable[[], Coroutine[Any, Any, Response]]) -> Pipe:
        pipe = Pipe()
        self._pipes = [one for one in self._pipes if not one.is_over]
        self._pipes.append(pipe)
        self._start(self._serve(request, work, pipe))
        return pipe

    async def _serve(self, request: Request, work: Callable[[], Coroutine[Any, Any, Response]], pipe: Pipe) -> None:
        send = _sender(pipe)
        try:
            try:
                answer = await work()
            except TallystickError as fault:
                answer = await answer_fault(request, fault)
            await answer(request.scope, request.receive, send)
        finally:
            pipe.stop(is_broken=True)

    def _request(self, method: str, path: str, device: DeviceCaller, body: bytes, **headers: bytes) -> Request:
        self.parts.tokens[device.device_id] = device
        told = {"authorization": b"Bearer " + device.device_id.encode(), **headers}
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": method,
            "path": f"/v1/towns/{device.town_id}/{path}",
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value) for name, value in told.items()],
            "client": None,
            "app": self._app,
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return Request(scope, receive)


def _sender(pipe: Pipe) -> Callable[[Message], Coroutine[Any, Any, None]]:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            pipe.status = message["status"]
            pipe.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        pipe.chunks.append(message.get("body", b""))
        pipe.wake()
        if not message.get("more_body", False):
            pipe.stop(is_broken=False)

    return send


class _Bell:
    """The `Bell` port; what it rings for is done by the world's workers in any case."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def ring(self, town_id: str) -> None:
        """As the port."""
        self._around.sometimes(f"bell {bool(town_id)}")


@asynccontextmanager
async def _running() -> AsyncIterator[None]:
    yield


async def work_off(process: Process, town_ids: Sequence[str], database: Database, faults: Faults) -> None:
    """What a worker does: everything that is due in these towns; it may die in the middle of it."""
    more = process.desk.handlers()
    for town_id in town_ids:
        for work in (database.outbox, database.inbox):
            told = {"outbox": work, "messages": database.messages, "system": process.system}
            await work_off_outbox(town_id, **told, more=more)  # type: ignore[arg-type]  # ports of three kinds
        if faults.strikes("worker.killed"):
            process.die()
            raise ProcessDied


def problem_of(pipe: Pipe) -> dict[str, Any]:
    """The problem document of an answer."""
    said: dict[str, Any] = orjson.loads(b"".join(pipe.chunks))
    return said
