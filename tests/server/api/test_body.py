"""The body reader against everything that is not a plain honest body."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from backports import zstd
from starlette.requests import Request
from starlette.types import Message, Receive

from server.api.body import (
    BODY_SECONDS_MAX,
    LINES_TYPE,
    SMALL_BODY_BYTES_MAX,
    BodyLimits,
    BodyTimedOut,
    UnsupportedMediaType,
    read_lines,
    read_small,
)
from sync.kernel.errors import LimitExceeded, Malformed, TallystickError
from sync.protocol import limits
from tests.support.loop_clock import settle, still_loop

GOOD = b'{"hello":{}}\n{"seq":1}\n'
LINES = [b'{"hello":{}}', b'{"seq":1}']


def gzipped(body: bytes) -> bytes:
    """Without the time of day in it: parameters of a test are the same in every process that collects it."""
    return gzip.compress(body, mtime=0)


ENCODERS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzipped, "zstd": zstd.compress}
SMALL = BodyLimits(wire_bytes_max=1000, bytes_max=10_000)


def request_of(chunks: Iterable[bytes], **headers: str) -> Request:
    """A request whose body arrives in these chunks."""
    return Request(scope_of(**headers), receiving(chunks, {"type": "http.request", "body": b""}))


def scope_of(**headers: str) -> dict[str, Any]:
    named = {"content-type": LINES_TYPE} | {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in named.items()]
    return {"type": "http", "method": "POST", "path": "/", "headers": pairs}


def receiving(chunks: Iterable[bytes], last: Message) -> Receive:
    arriving = iter(chunks)

    async def receive() -> Message:
        chunk = next(arriving, None)
        return last if chunk is None else {"type": "http.request", "body": chunk, "more_body": True}

    return receive


def in_pieces(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("encoding", ENCODERS)
async def test_a_body_is_read_in_every_encoding_and_however_it_is_cut(encoding: str, size: int) -> None:
    body = ENCODERS[encoding](GOOD)

    assert await read_lines(request_of(in_pieces(body, size), content_encoding=encoding), SMALL) == LINES


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_large_honest_body_is_inflated_whole(encoding: str) -> None:
    lines = [b"x" * 50_000 for _ in range(100)]
    body = ENCODERS[encoding](b"\n".join(lines))

    assert await read_lines(request_of([body], content_encoding=encoding), BodyLimits()) == lines


async def test_the_last_newline_may_be_missing() -> None:
    assert await read_lines(request_of([GOOD.rstrip()]), SMALL) == LINES


@pytest.mark.parametrize(
    "content_type", ["application/x-ndjson; charset=utf-8", 'Application/X-NDJSON;charset="UTF-8"']
)
async def test_utf_8_may_be_said(content_type: str) -> None:
    assert await read_lines(request_of([GOOD], content_type=content_type), SMALL) == LINES


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "application/json"},
        {"content_type": ""},
        {"content_type": "application/x-ndjson; charset=latin-1"},
        {"content_type": "application/x-ndjson; charset=utf-8; charset=utf-7"},
        {"content_encoding": "br"},
        {"content_encoding": "gzip, gzip"},
        {"content_encoding": "identity, gzip"},
    ],
)
async def test_another_type_or_encoding_is_not_taken(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read_lines(request_of([GOOD], **headers), SMALL)


@pytest.mark.parametrize(
    ("body", "headers", "fault"),
    [
        (b"", {}, Malformed),
        (b"\n", {}, Malformed),
        (b"{}\n\n", {}, Malformed),
        (b"\n{}\n", {}, Malformed),
        (b"{}\n\n{}\n", {}, Malformed),
        (b"x" * 1001, {}, LimitExceeded),
        (b"{}", {"content_length": "1001"}, LimitExceeded),
        (b"{}\n" * (limits.CHANGE_SETS_MAX + 2), {}, LimitExceeded),
        (GOOD, {"content_encoding": "gzip"}, Malformed),
        (GOOD, {"content_encoding": "zstd"}, Malformed),
        (b"", {"content_encoding": "gzip"}, Malformed),
        (b"", {"content_encoding": "zstd"}, Malformed),
        (gzipped(GOOD)[:-1], {"content_encoding": "gzip"}, Malformed),
        (zstd.compress(GOOD)[:-1], {"content_encoding": "zstd"}, Malformed),
        (gzipped(GOOD) + b"\0", {"content_encoding": "gzip"}, Malformed),
        (zstd.compress(GOOD) + b"\0", {"content_encoding": "zstd"}, Malformed),
        (gzipped(GOOD) * 2, {"content_encoding": "gzip"}, Malformed),
        (zstd.compress(GOOD) * 2, {"content_encoding": "zstd"}, Malformed),
        (b"\x50\x2a\x4d\x18\x01\x00\x00\x00x" + zstd.compress(GOOD), {"content_encoding": "zstd"}, Malformed),
        (zlib.compress(GOOD), {"content_encoding": "gzip"}, Malformed),
        (gzipped(b"x" * 10_001), {"content_encoding": "gzip"}, LimitExceeded),
        (zstd.compress(b"x" * 10_001), {"content_encoding": "zstd"}, LimitExceeded),
        (gzipped(gzipped(GOOD)), {"content_encoding": "gzip"}, None),
    ],
    ids=[
        "empty",
        "only a newline",
        "empty last line",
        "empty first line",
        "empty line",
        "too large",
        "too large by its length",
        "too many lines",
        "no gzip",
        "no zstd",
        "empty gzip",
        "empty zstd",
        "cut gzip",
        "cut zstd",
        "something behind gzip",
        "something behind zstd",
        "two gzip members",
        "two zstd frames",
        "a skippable zstd frame",
        "zlib as gzip",
        "large gzip",
        "large zstd",
        "two layers",
    ],
)
@pytest.mark.parametrize("size", [3, 100_000])
async def test_a_dishonest_body_is_refused(
    body: bytes, headers: dict[str, str], fault: type[TallystickError] | None, size: int
) -> None:
    request = request_of(in_pieces(body, size), **headers)

    if fault is None:  # a second layer is not opened: what is inside it is no line of ours
        assert await read_lines(request, SMALL) != LINES
        return
    with pytest.raises(TallystickError) as caught:
        await read_lines(request, SMALL)
    assert type(caught.value) is fault


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_bomb_is_left_before_it_is_inflated(encoding: str) -> None:
    pieces = iter(in_pieces(ENCODERS[encoding](bytes(1 << 25)), 1024))

    with pytest.raises(LimitExceeded):
        await read_lines(request_of(pieces, content_encoding=encoding), BodyLimits())
    assert list(pieces)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_bomb_that_arrives_at_once_takes_no_more_memory_than_the_limit(encoding: str) -> None:
    request = request_of([ENCODERS[encoding](bytes(1 << 25))], content_encoding=encoding)

    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded):
            await read_lines(request, BodyLimits(bytes_max=1 << 20))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1 << 22


async def test_a_zstd_body_does_not_choose_our_memory() -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(GOOD) + compressor.flush()

    with pytest.raises(Malformed):
        await read_lines(request_of([body], content_encoding="zstd"), SMALL)


async def test_a_line_longer_than_a_change_set_may_be_is_refused() -> None:
    body = b"{}\n" + b"x" * (limits.LINE_BYTES_MAX + 1)

    with pytest.raises(LimitExceeded):
        await read_lines(request_of([body]), BodyLimits())


async def test_a_cut_body_is_refused() -> None:
    request = Request(scope_of(), receiving([GOOD], {"type": "http.disconnect"}))

    with pytest.raises(Malformed):
        await read_lines(request, SMALL)


async def test_a_body_that_never_moves_is_closed_after_its_time_and_not_before() -> None:
    with still_loop() as clock:
        reading = asyncio.create_task(read_lines(Request(scope_of(), _never), BodyLimits()))
        await settle()
        clock.now += limits.BODY_IDLE_SECONDS - 0.1
        await settle()
        is_open = not reading.done()
        clock.now += 0.1
        await settle()

        assert (is_open, type(reading.exception())) == (True, BodyTimedOut)


async def test_a_body_that_only_drips_is_closed() -> None:
    drops = 0
    with still_loop() as clock:

        async def dripping() -> Message:
            nonlocal drops
            clock.now += 1
            drops += 1
            assert drops <= BODY_SECONDS_MAX
            await settle()
            return {"type": "http.request", "body": b" ", "more_body": True}

        with pytest.raises(BodyTimedOut):
            await read_lines(Request(scope_of(), dripping), BodyLimits())

    assert drops == BODY_SECONDS_MAX


async def test_a_small_document_is_not_taken_compressed() -> None:
    with pytest.raises(UnsupportedMediaType):
        await read_small(request_of([GOOD], content_encoding="gzip"), LINES_TYPE, BodyLimits())


async def test_a_small_document_is_small() -> None:
    with pytest.raises(LimitExceeded):
        await read_small(request_of([b"x" * (SMALL_BODY_BYTES_MAX + 1)]), LINES_TYPE, BodyLimits())


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError
