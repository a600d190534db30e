"""The door for snapshots: whole or in part, cached for ever, and only for devices that may hold the bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from server.application.snapshot_ports import Blob, Snapshot
from sync.modules.identity import SuspendDevice
from tests.support.api_world import ApiWorld, Knocker

HELD = bytes(range(256)) * 40


async def keep(world: ApiWorld, bucket: str = "town", held: bytes = HELD) -> Blob:
    """A file that is on record as the snapshot of a bucket."""
    door = world.parts.snapshots
    assert door is not None

    async def given() -> AsyncIterator[bytes]:
        yield held

    blob = await door.blobs.write(world.town_id, given())
    made = Snapshot(bucket=bucket, sha256=blob.sha256, epoch=world.new_id(), version=1, rows=1, bytes=blob.size)
    await door.snapshots.add(world.town_id, made, "2026-11-21T08:00:00.000Z")
    return blob


async def get(device: Knocker, sha256: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    token = named.pop("token", "") or await device.token()
    path = f"/v1/towns/{device.town_id}/snapshots/{sha256}"
    return await device.world.client.get(path, headers={"Authorization": f"Bearer {token}"} | named)


async def test_the_whole_file_comes_with_headers_that_keep_it_for_ever(world: ApiWorld) -> None:
    device, blob = await world.device(), await keep(world)
    answer = await get(device, blob.sha256)

    assert (answer.status_code, answer.content) == (200, HELD)
    assert answer.headers["ETag"] == f'"{blob.sha256}"'
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "application/zstd"
    assert (answer.headers["Accept-Ranges"], answer.headers["Content-Length"]) == ("bytes", str(len(HELD)))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-", 0, 10240), ("bytes=10-19", 10, 20), ("bytes=10239-", 10239, 10240), ("bytes=5-99999", 5, 10240)],
)
async def test_a_part_of_it_can_be_asked_for(world: ApiWorld, asked: str, start: int, stop: int) -> None:
    device, blob = await world.device(), await keep(world)
    answer = await get(device, blob.sha256, range=asked)

    assert (answer.status_code, answer.content) == (206, HELD[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(HELD)}"


@pytest.mark.parametrize("asked", ["bytes=9-5", "bytes=-5", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5"])
async def test_a_range_that_is_not_understood_is_left_out(world: ApiWorld, asked: str) -> None:
    device, blob = await world.device(), await keep(world)
    answer = await get(device, blob.sha256, range=asked)

    assert (answer.status_code, answer.content) == (200, HELD)


async def test_behind_its_end_there_is_nothing(world: ApiWorld) -> None:
    device, blob = await world.device(), await keep(world)
    answer = await get(device, blob.sha256, range=f"bytes={len(HELD)}-")

    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(HELD)}"


async def test_who_has_it_is_told_so_and_who_has_another_gets_the_whole(world: ApiWorld) -> None:
    device, blob = await world.device(), await keep(world)
    same = await get(device, blob.sha256, if_none_match=f'"{blob.sha256}"')
    other = await get(device, blob.sha256, range="bytes=5-", if_range='"another"')

    assert (same.status_code, same.content) == (304, b"")
    assert (other.status_code, other.content) == (200, HELD)


async def test_the_file_of_a_bucket_that_the_device_may_not_hold_looks_as_if_it_were_not_there(world: ApiWorld) -> None:
    device = await world.device()
    foreign, absent = await keep(world, "warehouse:x"), "0" * 64
    answers = [await get(device, sha256) for sha256 in (foreign.sha256, absent, "../town_heads", "X" * 64)]

    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].json() == answers[1].json()


async def test_a_device_that_is_suspended_gets_nothing(world: ApiWorld) -> None:
    device, blob = await world.device(), await keep(world)
    token = await device.token()
    await world.author(SuspendDevice(device=device.answer.device_id, reason="lost"))
    answer = await get(device, blob.sha256, token=token)

    assert (answer.status_code, answer.json()["code"]) == (403, "device_suspended")
