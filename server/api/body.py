"""Reading a request body: bounded in size, time and shape, before anything in it is believed.

Inflated step by step, so that a bomb is seen when it passes the limit and not when it has gone off. One layer of
compression, one member, nothing behind it. A body that drips is closed: it must move within the idle time, and be
whole within the longest time. Source of the limits: `sync.protocol.limits`.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from starlette.requests import Request

from sync.kernel.errors import LimitExceeded, Malformed, TallystickError
from sync.protocol import limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES_TYPE = "application/x-ndjson"
JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"

SMALL_BODY_BYTES_MAX = 16 * 1024
"""Requests that are one small document: enrolment, tokens."""

BODY_SECONDS_MAX = 300
"""A whole body: 1 MiB at 3.5 KB/s, less than the slowest mobile network in use."""

CHUNK_BYTES = 64 * 1024
ZSTD_WINDOW_LOG_MAX = 23  # 8 MiB, what RFC 8878 asks every decoder to support: the sender does not choose our memory
_GZIP = 16 + zlib.MAX_WBITS


class UnsupportedMediaType(TallystickError):
    """The body is of a type or in an encoding that is not taken here."""

    code: ClassVar[str] = "unsupported_media_type"


class BodyTimedOut(TallystickError):
    """The body came too slowly; send it again."""

    code: ClassVar[str] = "body_timed_out"


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyLimits:
    """The limits of one body; smaller ones only in tests."""

    wire_bytes_max: int = limits.BODY_WIRE_BYTES_MAX
    bytes_max: int = limits.BODY_BYTES_MAX
    idle_seconds: float = limits.BODY_IDLE_SECONDS
    seconds_max: float = BODY_SECONDS_MAX


class _Inflater(Protocol):
    def is_at_end(self) -> bool:
        """Whether the one member is complete."""
        ...

    def inflate(self, data: bytes) -> tuple[bytes, bytes]:
        """At most CHUNK_BYTES of output, and the input that is left, for the next call or behind the member."""
        ...


async def read_lines(request: Request, body_limits: BodyLimits) -> list[bytes]:
    """The lines of an `application/x-ndjson` body, without newlines: the hello and up to CHANGE_SETS_MAX more.

    Raises `UnsupportedMediaType`, `LimitExceeded`, `Malformed`, `BodyTimedOut`.
    """
    check_type(request, LINES_TYPE)
    body = await _read_inflated(request, body_limits)
    if body.endswith(b"\n"):
        del body[-1:]
    if body.count(b"\n") > limits.CHANGE_SETS_MAX:  # counted first: splitting makes an object of every line
        raise LimitExceeded(f"a request holds at most {limits.CHANGE_SETS_MAX} change sets")
    lines = bytes(body).split(b"\n")
    for place, line in enumerate(lines, start=1):
        if not line:
            raise Malformed(f"line {place} of the body is empty")
        if len(line) > limits.LINE_BYTES_MAX:
            raise LimitExceeded(f"line {place} of the body is longer than {limits.LINE_BYTES_MAX} bytes")
    return lines


async def read_small(
    request: Request, media_type: str, body_limits: BodyLimits, bytes_max: int = SMALL_BODY_BYTES_MAX
) -> bytes:
    """A small body of this type, not compressed. Raises as `read_lines` does."""
    check_type(request, media_type)
    if _encoding(request) != "identity":
        raise UnsupportedMediaType("this body is not taken compressed")
    wire = bytearray()
    async for chunk in _wire(request, body_limits, min(bytes_max, body_limits.wire_bytes_max)):
        wire += chunk
    return bytes(wire)


async def read_raw(request: Request, body_limits: BodyLimits, bytes_max: int) -> bytes:
    """A small body of any type, as it comes. Raises `LimitExceeded`, `Malformed`, `BodyTimedOut`."""
    wire = bytearray()
    async for chunk in _wire(request, body_limits, bytes_max):
        wire += chunk
    return bytes(wire)


def check_type(request: Request, expected: str) -> None:
    """Raise `UnsupportedMediaType` unless the request has one content type, `expected`, in UTF-8."""
    named = request.headers.getlist("content-type")
    essence, _, parameters = (named[0] if len(named) == 1 else "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if essence.strip().lower() != expected or charset not in {"", "charset=utf-8"}:
        raise UnsupportedMediaType(f"send {expected}, in UTF-8")


async def _read_inflated(request: Request, body_limits: BodyLimits) -> bytearray:
    inflater = _inflater(_encoding(request))
    body = bytearray()
    async for chunk in _wire(request, body_limits, body_limits.wire_bytes_max):
        if inflater is None:
            body += chunk  # the limit of the wire is the tighter one
        else:
            _inflate_into(body, inflater, chunk, body_limits.bytes_max)
    if inflater is not None and not inflater.is_at_end():
        raise Malformed("the compressed body ends too early")
    return body


def _inflate_into(body: bytearray, inflater: _Inflater, data: bytes, bytes_max: int) -> None:
    is_drained = False
    while not is_drained:
        if inflater.is_at_end():
            raise Malformed("something follows the compressed body")
        made, data = inflater.inflate(data)
        body += made
        if len(body) > bytes_max:
            raise LimitExceeded(f"the body inflates to more than {bytes_max} bytes")
        is_drained = not data and (len(made) < CHUNK_BYTES or inflater.is_at_end())


async def _wire(request: Request, body_limits: BodyLimits, bytes_max: int) -> AsyncIterator[bytes]:
    """The body as it arrives."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > bytes_max:
        raise LimitExceeded(f"the body is larger than {bytes_max} bytes")
    received = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + body_limits.seconds_max
    while True:
        try:
            async with asyncio.timeout_at(min(end, loop.time() + body_limits.idle_seconds)):
                message = await request.receive()
        except TimeoutError:
            raise BodyTimedOut from None
        if message["type"] == "http.disconnect":
            raise Malformed("the body was cut")
        chunk = message.get("body", b"")
        received += len(chunk)
        if received > bytes_max:
            raise LimitExceeded(f"the body is larger than {bytes_max} bytes")
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


def _encoding(request: Request) -> str:
    named = request.headers.getlist("content-encoding")
    return ",".join(named).strip().lower() or "identity"


def _inflater(encoding: str) -> _Inflater | None:
    if encoding == "identity":
        return None
    if encoding == "gzip":
        return _Gzip()
    if encoding == "zstd":
        return _Zstd()
    raise UnsupportedMediaType("send the body as it is, or with one layer of gzip or zstd")


class _Gzip:
    def __init__(self) -> None:
        self._z = zlib.decompressobj(wbits=_GZIP)

    def is_at_end(self) -> bool:
        return self._z.eof

    def inflate(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            made = self._z.decompress(data, CHUNK_BYTES)
        except zlib.error:
            raise Malformed("the body is not gzip") from None
        return made, self._z.unconsumed_tail or self._z.unused_data


class _Zstd:
    def __init__(self) -> None:
        self._z = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX})

    def is_at_end(self) -> bool:
        return self._z.eof

    def inflate(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            made = self._z.decompress(data, CHUNK_BYTES)  # keeps what it has not used yet itself
        except zstd.ZstdError:
            raise Malformed("the body is not zstd, or asks for too large a window") from None
        return made, self._z.unused_data if self._z.eof else b""
