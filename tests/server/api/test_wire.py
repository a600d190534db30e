"""A real server on a real socket, and clients that lie about their bodies, drip, or go away."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from server.adapters.memory import MemoryEnrolments, MemorySystem
from server.api.app import create_app
from server.api.body import BodyLimits
from server.api.parts import Parts
from server.domain.access import DeviceCaller, access_claims
from server.main import HEAD_BYTES_MAX, HTTP
from sync.kernel.ids import make_id

URL = "http://sync.example"
TOWN = make_id(1, bytes(10))
DEVICE = make_id(2, bytes(10))
PATH = f"/v1/towns/{TOWN}/exchange"


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


@contextmanager
def serving(parts: Parts) -> Iterator[int]:
    """Serve in a thread; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(parts), http=HTTP, h11_max_incomplete_event_size=HEAD_BYTES_MAX, log_config=None, lifespan="on"
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def signer() -> KeySigner:
    return KeySigner(Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def port(signer: KeySigner) -> Iterator[int]:
    parts = Parts(
        public_url=URL,
        towns=cast("Any", None),
        enrolments=MemoryEnrolments(),
        appliers=cast("Any", None),
        signer=signer,
        system=MemorySystem(),
        tries=cast("Any", None),
        checks={},
        running=nothing,
        body_limits=BodyLimits(idle_seconds=0.2, seconds_max=0.6),
    )
    with serving(parts) as chosen:
        yield chosen


@pytest.fixture
def authorization(signer: KeySigner) -> str:
    caller = DeviceCaller(device_id=DEVICE, town_id=TOWN, role="driver")
    now_seconds = MemorySystem().now_ms() // 1000
    return "Bearer " + signer.jws(access_claims(caller, audience=URL, now_seconds=now_seconds, jti="1"), "at+jwt")


def head(authorization: str, *more: str) -> bytes:
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: sync.example",
        "Content-Type: application/x-ndjson",
        f"Authorization: {authorization}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def answer_to(port: int, *sent: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in sent:
            connection.sendall(piece)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def test_a_body_that_stops_is_answered_and_closed(port: int, authorization: str) -> None:
    answer = answer_to(port, head(authorization, "Content-Length: 100"), b'{"hello"')

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timed_out"' in answer


def test_a_body_that_drips_is_answered_and_closed(port: int, authorization: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head(authorization, "Content-Length: 100000"))
        connection.settimeout(0.05)
        received = b""
        while not received:
            connection.sendall(b" ")
            try:
                received = connection.recv(65536)
            except TimeoutError:
                continue

    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_length_that_is_too_large_is_refused_before_anything_is_sent(port: int, authorization: str) -> None:
    answer = answer_to(port, head(authorization, "Content-Length: 1048577"))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


def test_a_length_that_is_too_short_cuts_the_body_where_it_says(port: int, authorization: str) -> None:
    answer = answer_to(port, head(authorization, "Content-Length: 2", "Connection: close"), b"{}" + b'{"hello":1}')

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed"' in answer


def test_a_chunked_body_is_counted_as_it_comes(port: int, authorization: str) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"

    answer = answer_to(port, head(authorization, "Transfer-Encoding: chunked"), *[chunk] * 16, b"1\r\nx\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_request_that_is_refused_unread_ends_its_connection(port: int) -> None:
    answer = answer_to(port, head("Bearer x", "Content-Length: 1000000"))

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer


def test_a_request_that_is_read_keeps_its_connection(port: int, authorization: str) -> None:
    request = head(authorization, "Content-Length: 2") + b"{}"

    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answers = []
        for _ in range(2):
            connection.sendall(request)
            answers.append(connection.recv(65536)[:12])

    assert answers == [b"HTTP/1.1 400"] * 2


def test_a_request_without_a_body_keeps_its_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answers = []
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: sync.example\r\n\r\n")
            answers.append(connection.recv(65536)[:12])

    assert answers == [b"HTTP/1.1 200"] * 2


GET = b"GET /healthz HTTP/1.1\r\nHost: sync.example\r\n"


def many_headers(count: int, size_bytes: int = 8) -> bytes:
    return b"".join(b"X-%06d: %s\r\n" % (number, b"a" * size_bytes) for number in range(count))


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"X: " + b"a" * HEAD_BYTES_MAX,
        GET + many_headers(HEAD_BYTES_MAX // 16),
        b"GET /" + b"a" * HEAD_BYTES_MAX,
    ],
    ids=["a header without end", "headers without end", "a path without end"],
)
def test_a_head_that_does_not_end_is_answered_and_closed(port: int, sent: bytes) -> None:
    answer = answer_to(port, sent)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"aaaa" not in answer


def test_a_head_is_counted_for_each_request_and_not_for_the_connection(port: int) -> None:
    request = GET + b"X: " + b"a" * (HEAD_BYTES_MAX // 2) + b"\r\n" + many_headers(100) + b"\r\n"

    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answers = []
        for _ in range(3):
            connection.sendall(request)
            answers.append(connection.recv(65536)[:12])

    assert answers == [b"HTTP/1.1 200"] * 3


def test_a_body_larger_than_a_head_may_be_is_no_head(port: int, authorization: str) -> None:
    body = b"x" * (4 * HEAD_BYTES_MAX)

    answer = answer_to(port, head(authorization, f"Content-Length: {len(body)}", "Connection: close"), body)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"limit_exceeded"' in answer


def test_headers_behind_a_body_are_counted_too(port: int, authorization: str) -> None:
    request = head(authorization, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n"

    answer = answer_to(port, request, many_headers(HEAD_BYTES_MAX // 16))

    assert answer.startswith(b"HTTP/1.1 400 ")
