"""Live streams over a real socket: what is told to whom, when it ends, and how many there may be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, cast

import httpx2
import orjson
import pytest
import uvicorn

from server.adapters.memory_hints import MemoryHints
from server.api.app import create_app
from server.api.live import EVENTS_TYPE, KEEP_ALIVE, OPENING
from server.api.parts import LiveDoor
from server.api.streams import DEVICE_STREAMS_MAX, Streams
from server.application.live_ports import Ear
from server.domain.access import ACCESS_SECONDS
from server.main import HEAD_BYTES_MAX, HTTP
from sync.modules.identity import AddUser, SuspendDevice
from tests.support.api_world import ApiWorld, Knocker

WAIT_SECONDS_MAX = 20.0


@asynccontextmanager
async def serving(world: ApiWorld, **live: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """The world's application behind uvicorn and h11, as `tallystick serve` has it; and a client of it."""
    assert world.parts.live is not None
    parts = replace(world.parts, live=replace(world.parts.live, **live))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(parts),
        http=HTTP,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        log_config=None,
        timeout_graceful_shutdown=0,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=WAIT_SECONDS_MAX) as client:
            yield client
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def stream(client: httpx2.AsyncClient, device: Knocker, token: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
    """The events of an open stream, after its opening."""
    headers = {"Authorization": f"Bearer {token or await device.token()}"}
    async with client.stream("GET", f"/v1/towns/{device.town_id}/live", headers=headers) as answer:
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, f"{EVENTS_TYPE}; charset=utf-8")
        events = answer.aiter_bytes()
        assert await anext(events) == OPENING
        yield events


async def problem(client: httpx2.AsyncClient, device: Knocker, token: str = "") -> tuple[int, str, str]:
    """Status, code and Retry-After of a stream that is refused."""
    headers = {"Authorization": f"Bearer {token or await device.token()}"}
    answer = await client.get(f"/v1/towns/{device.town_id}/live", headers=headers)
    return answer.status_code, answer.json()["code"], answer.headers.get("Retry-After", "")


class WatchedStreams(Streams):
    """Tells when one has been left."""

    def __init__(self, *, streams_max: int) -> None:
        super().__init__(streams_max=streams_max)
        self.is_left = asyncio.Event()

    @contextmanager
    def admitted(self, device_id: str, ear: Ear) -> Iterator[None]:
        with super().admitted(device_id, ear):
            yield
        self.is_left.set()


def hints_of(world: ApiWorld) -> MemoryHints:
    assert world.parts.live is not None
    return cast("MemoryHints", world.parts.live.hints)


def add_user(world: ApiWorld) -> AddUser:
    return AddUser(id=world.new_id(), name="Grace", login="grace", user_roles=["driver"])


async def test_a_commit_is_told_to_a_device_that_may_hold_its_rows(world: ApiWorld) -> None:
    device = await world.device()
    async with serving(world) as client, stream(client, device) as events:
        verdict = await world.author(add_user(world))
        event = await anext(events)

    assert orjson.loads(event.removeprefix(b"data: ")) == {"version": verdict["version"], "buckets": ["town"]}
    assert event.endswith(b"\n\n")


async def test_what_a_device_may_not_hold_is_not_told(world: ApiWorld) -> None:
    device, other = await world.device(), await world.device()
    async with serving(world, keep_alive_seconds=0.2) as client, stream(client, device) as events:
        await other.exchange()
        await world.author(SuspendDevice(device=other.answer.device_id, reason="lost"))

        assert await anext(events) == KEEP_ALIVE


async def test_nothing_for_a_while_is_a_keep_alive(world: ApiWorld) -> None:
    device = await world.device()
    async with serving(world, keep_alive_seconds=0.01) as client, stream(client, device) as events:
        assert [await anext(events) for _ in range(3)] == [KEEP_ALIVE] * 3


async def test_a_stream_ends_with_its_token(world: ApiWorld) -> None:
    device = await world.device()
    async with serving(world, keep_alive_seconds=0.01) as client, stream(client, device) as events:
        assert await anext(events) == KEEP_ALIVE
        world.system.advance(ACCESS_SECONDS)

        assert b"".join([event async for event in events]).replace(KEEP_ALIVE, b"") == b""


@pytest.mark.parametrize("is_hinted", [False, True], ids=["at a keep-alive", "at a hint"])
async def test_a_stream_ends_when_the_device_is_suspended(world: ApiWorld, is_hinted: bool) -> None:  # noqa: FBT001
    device = await world.device()
    keep_alive_seconds, token = 15.0 if is_hinted else 0.01, await device.token()
    async with serving(world, keep_alive_seconds=keep_alive_seconds) as client, stream(client, device) as events:
        await world.author(SuspendDevice(device=device.answer.device_id, reason="lost"))
        world.system.advance(keep_alive_seconds)
        if is_hinted:
            await world.author(add_user(world))

        assert b"".join([event async for event in events]).replace(KEEP_ALIVE, b"") == b""
        assert await problem(client, device, token) == (403, "device_suspended", "")


async def test_without_a_source_of_hints_a_stream_is_refused_and_one_that_is_open_ends(world: ApiWorld) -> None:
    device = await world.device()
    async with serving(world) as client:
        async with stream(client, device) as events:
            hints_of(world).go_away()
            assert [event async for event in events] == []

        assert await problem(client, device) == (503, "unavailable", "1")
        hints_of(world).come_back()
        async with stream(client, device) as events:
            await world.author(add_user(world))
            assert (await anext(events)).startswith(b"data: ")


async def test_one_stream_too_many_of_a_device_ends_its_oldest(world: ApiWorld) -> None:
    device = await world.device()
    async with (
        serving(world) as client,
        stream(client, device) as oldest,
        stream(client, device) as newer,
        stream(client, device) as newest,
    ):
        assert DEVICE_STREAMS_MAX == 2
        assert [event async for event in oldest] == []
        await world.author(add_user(world))
        assert (await anext(newest)).startswith(b"data: ")
        assert (await anext(newer)).startswith(b"data: ")


async def test_a_server_that_is_full_says_so_and_has_room_again(world: ApiWorld) -> None:
    device, other = await world.device(), await world.device()
    streams = WatchedStreams(streams_max=1)
    async with serving(world, streams=streams, keep_alive_seconds=0.01) as client:
        async with stream(client, device):
            assert await problem(client, other) == (503, "live_full", "30")
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            await streams.is_left.wait()  # the server has noticed that the device has gone
        async with stream(client, other) as events:
            assert await anext(events) == KEEP_ALIVE


async def test_another_town_s_stream_and_a_stream_without_a_token_are_refused(world: ApiWorld) -> None:
    device = await world.device()
    async with serving(world) as client:
        headers = {"Authorization": f"Bearer {await device.token()}"}
        other = await client.get(f"/v1/towns/{world.new_id()}/live", headers=headers)
        nobody = await client.get(f"/v1/towns/{device.town_id}/live")

    assert [(other.status_code, other.json()["code"]), (nobody.status_code, nobody.json()["code"])] == [
        (404, "not_found"),
        (401, "unauthorized"),
    ]


def test_the_live_door_speaks_at_least_every_quarter_of_a_minute() -> None:
    assert LiveDoor(hints=MemoryHints()).keep_alive_seconds == 15.0
