"""The network between devices and servers: requests and answers that are lost, doubled, late, slow, cut or another's.

The `Transport` of a device. What HTTP would do is done here by hand, in the same words as `client_sdk.adapters.http`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Sequence
from random import Random
from typing import Protocol

import orjson

from client_sdk.errors import Offline, ServerProblem, TownHalted
from server.domain.access import DeviceCaller
from sync.kernel.errors import TallystickError
from sync.protocol.bundle import SealedClaim
from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello, HelloLine, KeysAnswer, SealedReceipt
from tests.simulation.database import Database
from tests.simulation.facts import Facts, Heard
from tests.simulation.faults import Faults
from tests.simulation.loop import Actors, SimLoop
from tests.simulation.sealed import named, taken
from tests.simulation.server import Pipe, Process, problem_of

TIMEOUT_SECONDS = 30.0
LATENCY_SECONDS = (0.01, 0.4)
SLOW_SECONDS = (2.0, 25.0)
LATE_SECONDS = (1.0, 600.0)
INTERNAL = 500
PIECE_BYTES = 400


class Around(Protocol):
    """What the wire needs of its world."""

    loop: SimLoop
    actors: Actors
    faults: Faults
    facts: Facts
    database: Database

    def random(self, name: str) -> Random:
        """A source of chance of its own."""
        ...

    def some_process(self) -> Process | None:
        """One that is up, as a load balancer finds it."""
        ...

    def note(self, what: str) -> None:
        """Write this into the trace."""
        ...

    def sometimes(self, what: str) -> None:
        """This has happened."""
        ...


class Wire:
    """The transport of one device; `is_cut_off` while it is in a place without network."""

    def __init__(self, around: Around, name: str, caller: DeviceCaller) -> None:
        self._around = around
        self._name = name
        self._caller = caller
        self._random = around.random(f"wire {name}")
        self.is_cut_off = False
        self.bytes_up = 0
        self.bytes_down = 0

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """Devices of a world are enrolled before it begins."""
        raise Offline(f"{request.name} is enrolled already")

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Send one request and yield the answer line by line."""
        said = HelloLine(hello=hello).model_dump_json(by_alias=True, exclude_defaults=True).encode()
        body = b"\n".join((said, *lines, b""))
        self.bytes_up += len(body)
        self._around.note(f"{self._name} sends {len(lines)} lines from {hello.from_seq}, {zlib.crc32(body):08x}")
        pipe = self._send(body)
        cursors = dict(hello.cursors)
        for heard, line in enumerate(self._lines(pipe)):
            if self._around.faults.strikes("net.cut", self._name):
                raise Offline(f"cut after {heard} lines")
            self.bytes_down += len(line) + 1
            self._note_rows(line, cursors)
            yield line

    def snapshot(self, sha256: str, start: int) -> Iterator[bytes]:
        """The file from a place on, in pieces. Raises `Offline`, also in the middle of it, and `ServerProblem`."""
        if start:
            self._around.sometimes("a download goes on where it was torn")
        process = self._reached()
        pipe = process.download(self._caller, sha256, start)
        for chunk in self._chunks(pipe):
            for place in range(0, len(chunk), PIECE_BYTES):
                if self._around.faults.strikes("blob.torn", self._name):
                    raise Offline("the file was cut")
                piece = chunk[place : place + PIECE_BYTES]
                self.bytes_down += len(piece)
                yield piece

    def keys(self) -> KeysAnswer:
        """The keys of a world's server are those of its stage."""
        raise Offline("nobody asks for what is known")

    def deliver(self, claim: SealedClaim, box: bytes) -> SealedReceipt:
        """Hand in sealed lines at some process."""
        around = self._around
        tasks: list[asyncio.Task[SealedReceipt]] = []
        process = self._reached()
        work = taken(process, self._caller, claim, box)
        around.actors.wait(lambda wake: tasks.append(process.call(work, wake)))
        (task,) = tasks
        if around.faults.strikes("net.answer_lost", self._name) or not process.is_alive or not task.done():
            around.actors.pause(TIMEOUT_SECONDS)
            raise Offline("no answer")
        try:
            receipt = task.result()
        except TallystickError as fault:
            code, status = named(fault)
            around.note(f"{self._name} may not hand in: {code}")
            if status == INTERNAL:
                around.facts.orderly.append(f"{self._name} was answered 500 {code}")
            raise ServerProblem(code, status=status) from None
        around.note(f"{self._name} has handed in {claim.from_seq} to {claim.to_seq}")
        return receipt

    def _reached(self) -> Process:
        """The server that a request comes to. Raises `Offline`."""
        faults, actors = self._around.faults, self._around.actors
        if self.is_cut_off:
            actors.pause(TIMEOUT_SECONDS)
            raise Offline("there is no network here")
        actors.pause(self._latency())
        if faults.strikes("net.request_lost", self._name):
            actors.pause(TIMEOUT_SECONDS)
            raise Offline("no answer")
        if faults.strikes("net.portal", self._name):
            raise Offline("the answer is text/html: perhaps a login page of this network")
        process = self._around.some_process()
        if process is None:
            raise Offline("no server is up")
        return process

    def _send(self, body: bytes) -> Pipe:
        """The request on its way to a server. Raises `Offline`."""
        faults, actors = self._around.faults, self._around.actors
        process = self._reached()
        if faults.strikes("net.doubled", self._name):
            process.exchange(self._caller, body)
        if faults.strikes("net.late_copy", self._name):
            seconds = faults.source("net.late_copy").uniform(*LATE_SECONDS)
            self._around.loop.call_later(seconds, self._send_copy, body)
        pipe = process.exchange(self._caller, body)
        if faults.strikes("net.answer_lost", self._name):
            actors.pause(TIMEOUT_SECONDS)
            raise Offline("no answer")
        return pipe

    def _send_copy(self, body: bytes) -> None:
        """A request that took the long way round; its answer finds nobody."""
        process = self._around.some_process()
        if process is not None:
            process.exchange(self._caller, body)

    def _lines(self, pipe: Pipe) -> Iterator[bytes]:
        """Whole lines as they come. Raises `Offline` when the answer breaks off, `ServerProblem` for another one."""
        rest = b""
        for chunk in self._chunks(pipe):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            raise Offline("the answer was cut; sync again")

    def _chunks(self, pipe: Pipe) -> Iterator[bytes]:
        """The body of an answer as it comes. Raises as `_lines` does."""
        taken = 0
        while True:
            while taken < len(pipe.chunks) and pipe.status < 300:
                taken += 1
                self._around.actors.pause(self._latency())
                yield pipe.chunks[taken - 1]
            if pipe.is_over:
                break
            self._await(pipe)
        if pipe.status >= 300 and not pipe.is_broken:
            self._raise_problem(pipe)
        if pipe.is_broken:
            raise Offline("the answer was cut; sync again")

    def _await(self, pipe: Pipe) -> None:
        """Until there is more of it."""

        def subscribe(wake: object) -> None:
            pipe.wake = wake  # type: ignore[assignment]  # a callable without arguments

        self._around.actors.wait(subscribe)

    def _raise_problem(self, pipe: Pipe) -> None:
        said = problem_of(pipe)
        code, expected, wipe = str(said["code"]), said.get("expected_seq"), said.get("wipe")
        self._around.note(f"{self._name} hears {code}")
        if pipe.status == INTERNAL:
            self._around.facts.orderly.append(f"{self._name} was answered 500 {code}")
        raise (TownHalted if code == "town_halted" else ServerProblem)(
            code,
            status=pipe.status,
            message=said.get("detail") or said.get("title"),
            retry_after_seconds=float(pipe.headers.get("retry-after", "0")) or None,
            expected_seq=expected if isinstance(expected, int) else None,
            wipe=wipe if isinstance(wipe, dict) else None,
            released=said if code == "chain_released" else None,
        )

    def _latency(self) -> float:
        is_slow = self._around.faults.strikes("net.slow", self._name)
        return self._random.uniform(*(SLOW_SECONDS if is_slow else LATENCY_SECONDS))

    def _note_rows(self, line: bytes, cursors: dict[str, int]) -> None:
        """Write down which rows this device was shown, and from where on it had asked for them."""
        if not line.startswith((b'{"t":"rows",', b'{"t":"bucket",', b'{"t":"snapshot",')):
            return
        said = orjson.loads(line)
        if said["t"] == "snapshot":
            for one in self._around.database.blobs.lines[said["sha256"]]:
                self._note_rows(one, cursors)
            cursors[said["b"]] = said["version"]
            return
        if said["t"] == "bucket":
            if said["state"] != "kept":
                cursors[said["b"]] = 0
            return
        cursor = cursors.get(said["b"], 0)
        for row_id, version, *body in [*said["put"], *said["gone"]]:
            self._around.facts.heard.append(
                Heard(
                    device_id=self._caller.device_id,
                    town_id=self._caller.town_id,
                    bucket=said["b"],
                    cursor=cursor,
                    entity=said["e"],
                    row_id=row_id,
                    version=version,
                    is_gone=not body,
                )
            )
