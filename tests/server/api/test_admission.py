"""One exchange of a device at a time, not more than the process holds, and a place that is free again in every case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from starlette.types import Message

from server.api.admission import ANSWER_IDLE_SECONDS, PATIENCE_SECONDS, Exchanges, ExchangeUnderWay
from server.api.app import create_app
from tests.support.api_world import ApiWorld, Knocker, api_world
from tests.support.loop_clock import settle, still_loop


@pytest.fixture
async def impatient_world(migrated_database: str) -> AsyncIterator[ApiWorld]:
    """Two exchanges at most, and nobody waits for a place."""
    exchanges = Exchanges(exchanges_max=2, patience_seconds=0)
    async with api_world(migrated_database, exchanges=exchanges) as world:
        yield world


async def test_a_second_exchange_of_a_device_is_told_to_come_back(impatient_world: ApiWorld) -> None:
    device = await impatient_world.device()
    place = await impatient_world.parts.exchanges.enter(device.answer.device_id, device.town_id)

    refused = await device.exchange()
    place.leave()
    admitted = await device.exchange()

    assert (refused.status_code, refused.json()["code"]) == (503, "exchange_under_way")
    assert refused.headers["retry-after"] == "1"
    assert admitted.status_code == 200


async def test_more_exchanges_than_the_process_holds_are_told_to_come_back(impatient_world: ApiWorld) -> None:
    places = [await impatient_world.parts.exchanges.enter(f"device {number}", f"town {number}") for number in range(2)]
    device = await impatient_world.device()

    refused = await device.exchange()
    places[0].leave()
    admitted = await device.exchange()

    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "busy", "1")
    assert admitted.status_code == 200


async def test_the_body_of_what_is_not_admitted_is_not_read(impatient_world: ApiWorld) -> None:
    device = await impatient_world.device()
    await impatient_world.parts.exchanges.enter(device.answer.device_id, device.town_id)
    sent = await ask(device, body=None)

    assert sent[0]["status"] == 503


@pytest.mark.parametrize("content", [b"no hello", b'{"hello":{}}', b"\n"])
async def test_a_place_is_free_again_after_a_problem(impatient_world: ApiWorld, content: bytes) -> None:
    device = await impatient_world.device()

    problem = await device.exchange(hello=content)

    assert problem.status_code == 400
    assert (await device.exchange()).status_code == 200


async def test_a_place_is_free_before_the_end_of_the_answer_is_heard(impatient_world: ApiWorld) -> None:
    device = await impatient_world.device()
    entered: list[object] = []

    async def on_end() -> None:
        entered.append(await impatient_world.parts.exchanges.enter(device.answer.device_id, device.town_id))

    sent = await ask(device, body=device.hello(), on_end=on_end)

    assert (sent[0]["status"], sent[-1].get("more_body", False), len(entered)) == (200, False, 1)
    with pytest.raises(ExchangeUnderWay):  # the end of the first has not taken the place from the second
        await impatient_world.parts.exchanges.enter(device.answer.device_id, device.town_id)


async def test_an_answer_that_nobody_takes_is_cut_and_its_place_is_free(impatient_world: ApiWorld) -> None:
    device, taking = await impatient_world.device(), asyncio.Event()

    asking = asyncio.create_task(ask(device, body=device.hello(), never_taken=taking))
    await taking.wait()
    with still_loop() as clock:
        await settle()
        clock.now += ANSWER_IDLE_SECONDS - 1
        await settle()
        is_held = not asking.done()
        clock.now += 2
        await settle(1_000)

        assert (is_held, asking.result()) == (True, [])
    await impatient_world.parts.exchanges.enter(device.answer.device_id, device.town_id)


async def test_one_exchange_may_wait_for_the_one_before_it_and_a_third_is_refused_at_once() -> None:
    exchanges = Exchanges()
    with still_loop():
        first = await exchanges.enter("device", "town")
        waiting = asyncio.create_task(exchanges.enter("device", "town"))
        await settle()

        refused = asyncio.create_task(exchanges.enter("device", "town"))
        await settle()
        assert isinstance(refused.exception(), ExchangeUnderWay)
        first.leave()
        await settle()
        second = waiting.result()
        first.leave()

        third = asyncio.create_task(exchanges.enter("device", "town"))
        await settle()
        assert not third.done()  # leaving the first again has not let anybody in
        second.leave()
        await settle()
        third.result().leave()


async def test_whoever_waits_for_its_own_exchange_does_so_for_a_while() -> None:
    exchanges = Exchanges()
    with still_loop() as clock:
        await exchanges.enter("device", "town")
        waiting = asyncio.create_task(exchanges.enter("device", "town"))
        await settle()
        clock.now += PATIENCE_SECONDS - 0.1
        await settle()
        is_waiting = not waiting.done()
        clock.now += 0.2
        await settle()

        assert (is_waiting, type(waiting.exception())) == (True, ExchangeUnderWay)


async def test_whoever_waited_for_its_own_exchange_then_waits_for_a_place_like_everybody() -> None:
    exchanges = Exchanges(exchanges_max=1)
    with still_loop():
        first = await exchanges.enter("device", "town")
        waiting = asyncio.create_task(exchanges.enter("device", "town"))
        await settle()
        first.leave()
        another = await exchanges.enter("another", "town")
        await settle()

        assert not waiting.done()
        another.leave()
        await settle()

        waiting.result().leave()


async def ask(
    device: Knocker,
    *,
    body: bytes | None,
    on_end: Callable[[], Awaitable[None]] | None = None,
    never_taken: asyncio.Event | None = None,
) -> list[Message]:
    """What the application sends for one exchange of the device; without a body it must not ask for one."""
    token, sent = await device.token(), list[Message]()
    headers = [(b"content-type", b"application/x-ndjson"), (b"authorization", f"Bearer {token}".encode())]
    path = f"/v1/towns/{device.town_id}/exchange"
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}

    async def receive() -> Message:
        assert body is not None
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        if never_taken:
            never_taken.set()
            await asyncio.Event().wait()
        sent.append(message)
        if on_end and not message.get("more_body", message["type"] == "http.response.start"):
            await on_end()

    with suppress(Exception):
        await create_app(device.world.parts)(scope | {"asgi": {"spec_version": "2.4"}}, receive, send)
    return sent
