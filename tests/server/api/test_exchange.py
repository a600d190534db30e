"""The exchange over HTTP: who may, what is checked before anything is taken, and how the answer travels."""

from __future__ import annotations

import gzip

import orjson
from backports import zstd

from tests.support.api_world import ApiWorld


def lines_of(body: bytes) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in body.removesuffix(b"\n").split(b"\n")]


async def test_an_exchange_without_lines_goes_from_welcome_to_checkpoint(world: ApiWorld) -> None:
    device = await world.device()

    answer = await device.exchange()

    assert answer.status_code == 200, answer.text
    kinds = [line["t"] for line in lines_of(answer.content)]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("welcome", "checkpoint", {"bucket", "rows"})
