"""The exchange over HTTP: who may, what is checked before anything is taken, and how the answer travels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import orjson
import pytest
from starlette.types import Message

from server.api.app import create_app
from server.application.ports import TownReader, Unavailable
from sync.engine.chain import encode_bytes
from sync.modules.identity import AddUser, RevokeDevice, SuspendDevice
from tests.support.api_world import ApiWorld, Knocker, api_world

WRONG_HASH = encode_bytes(bytes(32))


def lines_of(body: bytes) -> list[dict[str, Any]]:
    assert body.endswith(b"\n")
    return [orjson.loads(line) for line in body[:-1].split(b"\n")]


def wish(device: Knocker) -> AddUser:
    """An operation that a driver's device may send and that is refused: enough to make a line."""
    return AddUser(id=device.world.new_id(), name="Eve", login="eve", user_roles=["admin"])


def changed(device: Knocker, lines: int = 0, **head: object) -> bytes:
    said = orjson.loads(device.hello(lines))
    said["hello"]["head"] |= head
    return orjson.dumps(said)


async def test_an_exchange_goes_from_welcome_over_verdicts_and_rows_to_a_checkpoint(world: ApiWorld) -> None:
    device = await world.device()

    answer = await device.exchange(device.line(wish(device)), device.line(wish(device)))

    assert answer.status_code == 200, answer.text
    said = lines_of(answer.content)
    kinds = [line["t"] for line in said]
    assert kinds[:3] == ["welcome", "verdict", "verdict"]
    assert set(kinds[3:-1]) == {"bucket", "rows"}
    assert (said[0]["acked"], said[-1]["t"], said[-1]["more"]) == (2, "checkpoint", False)
    assert said[-1]["version"] >= said[2]["version"]
    assert said[-1]["epoch"] == said[0]["epoch"]


async def test_lines_sent_again_get_their_first_verdicts(world: ApiWorld) -> None:
    device = await world.device()
    line = device.line(wish(device))
    first = await device.exchange(line)

    again = await device.exchange(line)

    assert lines_of(again.content)[1] == lines_of(first.content)[1]


async def test_a_suspended_device_is_barred_with_the_token_it_has(world: ApiWorld) -> None:
    device = await world.device()
    token = await device.token()
    outcomes = []
    for operation in (SuspendDevice, RevokeDevice):
        await world.author(operation(device=device.answer.device_id, reason="lost"))
        answer = await world.client.post(
            f"/v1/towns/{world.town_id}/exchange",
            content=device.hello(),
            headers={"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"},
        )
        outcomes.append((answer.status_code, answer.json()["code"]))

    assert outcomes == [(403, "device_suspended"), (403, "device_revoked")]


@pytest.mark.parametrize("protocol", [0, 2, 999])
async def test_another_protocol_is_told_to_update_whatever_else_its_hello_says(world: ApiWorld, protocol: int) -> None:
    device = await world.device()

    answer = await device.exchange(hello=orjson.dumps({"hello": {"protocol": protocol, "news": True}}))

    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")


@pytest.mark.parametrize(
    "change",
    [
        {"surplus": 1},
        {"schema": "1"},
        {"clock": "2026-13-45T08:00:00.000Z"},
        {"from_seq": 0},
        {"cursors": {"Secret Bucket": 1}},
        {"cursors": {f"driver:{number}": 1 for number in range(65)}},
        {"witness": {"version": 1}},
    ],
)
async def test_a_hello_of_another_shape_is_malformed_and_not_repeated(world: ApiWorld, change: dict[str, Any]) -> None:
    device = await world.device()

    answer = await device.exchange(hello=device.hello(**change))

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert all(word not in answer.text for word in ("surplus", "Secret", "2026-13"))


async def test_a_head_that_does_not_fit_its_lines_breaks_the_chain(world: ApiWorld) -> None:
    device = await world.device()
    line = device.line(wish(device))
    hellos = {
        "another place": changed(device, 1, seq=2),
        "another hash": changed(device, 1, hash=WRONG_HASH),
        "another signature": changed(device, 1, sig="A" * 86),
    }

    codes = {name: (await device.exchange(line, hello=hello)).json()["code"] for name, hello in hellos.items()}

    assert codes == dict.fromkeys(hellos, "chain_broken")
    assert (await device.exchange(line)).status_code == 200


async def test_a_head_without_lines_is_signed_too(world: ApiWorld) -> None:
    device = await world.device()

    answer = await device.exchange(hello=changed(device, sig="A" * 86))

    assert (answer.status_code, answer.json()["code"]) == (409, "chain_broken")


async def test_a_head_that_is_another_line_in_the_place_of_the_last_has_to_be_sent_and_is_a_fork_then(
    world: ApiWorld,
) -> None:
    device = await world.device()
    kept = device.digest
    await device.exchange(device.line(wish(device)))
    device.seq, device.digest = 0, kept
    line = device.line(wish(device))

    asked = await device.exchange()
    sent = await device.exchange(line)

    assert (asked.status_code, asked.json()["code"], asked.json()["expected_seq"]) == (409, "chain_gap", 1)
    assert (sent.status_code, sent.json()["code"]) == (409, "chain_forked")


async def test_a_head_ahead_of_ours_hears_where_we_are(world: ApiWorld) -> None:
    device = await world.device()
    device.line(wish(device))

    answer = await device.exchange()

    assert lines_of(answer.content)[0]["acked"] == 0


async def test_a_hole_is_told_where_to_send_from(world: ApiWorld) -> None:
    device = await world.device()
    device.line(wish(device))

    answer = await device.exchange(device.line(wish(device)))

    assert (answer.status_code, answer.json()["code"], answer.json()["expected_seq"]) == (409, "chain_gap", 1)


async def test_nothing_is_taken_while_the_history_is_in_doubt(world: ApiWorld) -> None:
    device = await world.device()
    epoch = lines_of((await device.exchange()).content)[-1]["epoch"]
    line = device.line(wish(device))

    await device.exchange(line, hello=device.hello(1, epoch=epoch, witness={"version": 99, "journal": WRONG_HASH}))

    assert lines_of((await device.exchange()).content)[0]["acked"] == 0


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("zstd, gzip", "zstd"),
        ("gzip", "gzip"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("gzip;q=0.0", None),
        ("br", None),
    ],
)
async def test_the_answer_is_compressed_as_the_device_can_read_it(
    world: ApiWorld, accepted: str, expected: str | None
) -> None:
    device = await world.device()

    answer = await device.exchange(Accept_Encoding=accepted)

    assert answer.headers.get("content-encoding") == expected
    assert answer.headers["vary"] == "Accept-Encoding"
    assert lines_of(answer.content)[-1]["t"] == "checkpoint"


class TornTowns:
    """Towns whose snapshots are not to be had from the n-th on."""

    def __init__(self, towns: Any) -> None:
        self._towns = towns
        self.readings_left = 99

    def __getattr__(self, name: str) -> Any:
        return getattr(self._towns, name)

    def reading(self, town_id: str) -> AbstractAsyncContextManager[TownReader]:
        return self._reading(town_id)

    @asynccontextmanager
    async def _reading(self, town_id: str) -> AsyncIterator[TownReader]:
        self.readings_left -= 1
        if self.readings_left < 0:
            raise Unavailable(retry_after_seconds=7)
        async with self._towns.reading(town_id) as reader:
            yield reader


async def messages_of(device: Knocker, towns: TornTowns, readings: int) -> list[Message]:
    """What the application sends for one exchange, of which only so many snapshots succeed."""
    token, body, sent = await device.token(), device.hello(), list[Message]()
    headers = [(b"content-type", b"application/x-ndjson"), (b"authorization", f"Bearer {token}".encode())]
    path = f"/v1/towns/{device.town_id}/exchange"
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    towns.readings_left = readings
    with suppress(RuntimeError):
        await create_app(device.world.parts)(scope | {"asgi": {"spec_version": "2.4"}}, receive, send)
    return sent


@pytest.mark.parametrize("is_torn", [False, True])
async def test_an_answer_that_fails_half_way_is_cut_and_has_no_final_checkpoint(
    migrated_database: str, *, is_torn: bool
) -> None:
    async with api_world(migrated_database) as beside:
        towns = TornTowns(beside.parts.towns)
        async with api_world(migrated_database, towns=towns, page_rows=1) as world:
            device = await world.device()
            await world.author(AddUser(id=world.new_id(), name="Bea", login="bea", user_roles=["driver"]))
            start, *bodies = await messages_of(device, towns, 1 if is_torn else 99)

    said = lines_of(b"".join(message["body"] for message in bodies))
    more = [line["more"] for line in said if line["t"] == "checkpoint"]
    assert (start["status"], said[0]["t"], said[-1]["t"]) == (200, "welcome", "checkpoint")
    assert more == ([True] if is_torn else [True] * (len(more) - 1) + [False])
    assert len(more) == 1 if is_torn else len(more) > 1
    assert bodies[-1]["more_body"] is is_torn


@pytest.mark.parametrize(("readings", "lines"), [(0, 0), (1, 1)])
async def test_a_store_that_fails_before_the_answer_starts_says_when_to_come_back(
    migrated_database: str, readings: int, lines: int
) -> None:
    async with api_world(migrated_database) as beside:
        towns = TornTowns(beside.parts.towns)
        async with api_world(migrated_database, towns=towns) as world:
            device = await world.device()
            token = await device.token()
            towns.readings_left = readings
            sent = [device.line(wish(device)) for _ in range(lines)]
            answer = await world.client.post(
                f"/v1/towns/{world.town_id}/exchange",
                content=b"\n".join([device.hello(lines), *sent]),
                headers={"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"},
            )

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json()["code"] == "unavailable"
