"""The logging and the request layer: what every line holds, and what none may hold."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from server.telemetry import Application, Message, RequestTelemetry, configure_logging

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Clock:
    """Seconds that move when a test moves them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root, access, client = logging.getLogger(), logging.getLogger("uvicorn.access"), logging.getLogger("httpx2")
    handlers, level, disabled, client_level = root.handlers, root.level, access.disabled, client.level
    stream = io.StringIO()
    configure_logging(level="info", log_format="json", stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, access.disabled = handlers, disabled
    root.setLevel(level)
    client.setLevel(client_level)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def request_line(log: io.StringIO) -> dict[str, Any]:
    (line,) = [line for line in lines(log) if line["logger"] == "server.request"]
    return line


def tiny_app(clock: Clock) -> Application:
    async def echo(request: Request) -> PlainTextResponse:
        structlog.get_logger("inside").info("worked")
        return PlainTextResponse((await request.body()) * 2, headers={"X-Request-Id": "of-the-app"})

    async def stream(_: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(3):
                clock.seconds += 0.5
                yield b"part"

        return StreamingResponse(parts())

    async def fail(_: Request) -> PlainTextResponse:
        raise RuntimeError("planted")

    routes = [
        Route("/things/{thing}", echo, methods=["GET", "POST"]),
        Route("/stream", stream),
        Route("/fail", fail),
        Route("/files/{folder}/{rest:path}", echo),
        Mount("/inner/{house}", routes=[Route("/rooms/{room}", echo)]),
    ]
    return RequestTelemetry(Starlette(routes=routes), monotonic=clock)


async def call(app: Application, method: str, path: str, **options: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://town.test") as client:
        return await client.request(method, path, **options)


async def test_a_request_is_one_line_with_template_status_and_sizes(log: io.StringIO, clock: Clock) -> None:
    await call(
        tiny_app(clock),
        "POST",
        "/things/7",
        content=b"abc",
        headers={"X-Request-Id": "r-1", "traceparent": TRACEPARENT},
    )
    line = request_line(log)
    line.pop("timestamp")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "server.request",
        "request_id": "r-1",
        "trace_id": TRACE_ID,
        "method": "POST",
        "path": "/things/{thing}",
        "status": 200,
        "latency_ms": 0.0,
        "bytes_in": 3,
        "bytes_out": 6,
        "disconnected": False,
    }


async def test_lines_inside_a_request_carry_its_ids_and_lines_after_it_do_not(log: io.StringIO, clock: Clock) -> None:
    headers = {"X-Request-Id": "r-1", "traceparent": TRACEPARENT}
    await call(tiny_app(clock), "GET", "/things/7", headers=headers)
    structlog.get_logger("outside").info("idle")
    inside, _, outside = lines(log)
    assert (inside["event"], inside["request_id"], inside["trace_id"]) == ("worked", "r-1", TRACE_ID)
    assert "request_id" not in outside


async def test_the_answer_carries_the_request_id_once(log: io.StringIO, clock: Clock) -> None:
    response = await call(tiny_app(clock), "GET", "/things/7", headers={"X-Request-Id": "r-1"})
    assert response.headers.get_list("x-request-id") == ["r-1"]
    assert request_line(log)["request_id"] == "r-1"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'r"} {"level":"error'])
async def test_a_request_id_that_is_not_a_plain_name_is_replaced(log: io.StringIO, clock: Clock, given: str) -> None:
    response = await call(tiny_app(clock), "GET", "/things/7", headers={"X-Request-Id": given})
    assert uuid.UUID(response.headers["x-request-id"]).version == 4
    assert request_line(log)["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("traceparent", "is_kept"),
    [
        (TRACEPARENT, True),
        (f"01-{TRACE_ID}-00f067aa0ba902b7-01-later", True),
        (f"00-{TRACE_ID}-00f067aa0ba902b7-01-later", False),
        (f"ff-{TRACE_ID}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE_ID}-{'0' * 16}-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
async def test_a_trace_is_continued_only_from_a_valid_traceparent(
    log: io.StringIO, clock: Clock, traceparent: str, *, is_kept: bool
) -> None:
    await call(tiny_app(clock), "GET", "/things/7", headers={"traceparent": traceparent})
    trace_id = request_line(log)["trace_id"]
    assert (trace_id == TRACE_ID) is is_kept
    assert len(trace_id) == 32
    assert int(trace_id, 16) != 0


async def test_neither_query_nor_body_nor_authorization_is_logged(log: io.StringIO, clock: Clock) -> None:
    headers = {"Authorization": "Bearer hush-token"}
    await call(tiny_app(clock), "POST", "/things/7?code=hush-query", content=b"hush-body", headers=headers)
    assert "hush" not in log.getvalue()


async def test_the_latency_of_a_stream_is_taken_at_its_end(log: io.StringIO, clock: Clock) -> None:
    response = await call(tiny_app(clock), "GET", "/stream")
    assert response.content == b"partpartpart"
    line = request_line(log)
    assert (line["latency_ms"], line["bytes_out"], line["disconnected"]) == (1500.0, 12, False)


async def test_an_unhandled_exception_is_an_error_line_with_its_trace_and_a_named_answer(
    log: io.StringIO, clock: Clock
) -> None:
    response = await call(tiny_app(clock), "GET", "/fail", headers={"X-Request-Id": "r-1"})
    line = request_line(log)
    assert (response.status_code, response.headers["x-request-id"]) == (500, "r-1")
    assert (line["level"], line["status"], line["path"]) == ("error", 500, "/fail")
    assert "RuntimeError: planted" in line["exception"]


async def test_a_path_that_no_route_takes_is_logged_cut_to_its_limit(log: io.StringIO, clock: Clock) -> None:
    await call(tiny_app(clock), "GET", "/" + "x" * 5000)
    line = request_line(log)
    assert (line["status"], line["path"]) == (404, "/" + "x" * 199)


async def test_a_secret_in_a_path_that_no_route_takes_is_not_logged(log: io.StringIO, clock: Clock) -> None:
    secret = "AZcKbjwAelqcHwsfaj9tEbq4wY0m8t7bEf0nVIvJ4xs"
    for path in (f"/orders/track/{secret}", f"/orders/track/{secret}/"):
        await call(tiny_app(clock), "GET", path)

    assert secret not in log.getvalue()
    assert "/orders/track/{secret}" in log.getvalue()


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/inner/7/rooms/7", "/inner/{house}/rooms/{room}"),
        ("/files/7/deep/down.txt", "/files/{folder}/{rest}"),
        ("/files/7/", "/files/{folder}/"),
    ],
)
async def test_a_template_is_whole_also_below_a_mount(log: io.StringIO, clock: Clock, path: str, template: str) -> None:
    await call(tiny_app(clock), "GET", path)
    assert request_line(log)["path"] == template


def scope_of(path: str) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}


async def test_a_client_that_leaves_before_the_end_is_logged_as_disconnected(log: io.StringIO) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        return

    await RequestTelemetry(app)(scope_of("/live"), receive, send)
    line = request_line(log)
    assert (line["level"], line["status"], line["bytes_out"], line["disconnected"]) == ("warning", 200, 4, True)


async def test_a_cancelled_request_is_logged_as_disconnected(log: io.StringIO) -> None:
    started = asyncio.Event()

    async def app(*_: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    async def nothing(*_: Any) -> Any:
        raise AssertionError("not called")

    task = asyncio.ensure_future(RequestTelemetry(app)(scope_of("/live"), nothing, nothing))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (request_line(log)["disconnected"], request_line(log)["status"]) == (True, None)


async def test_whatever_is_not_http_goes_by_untouched(log: io.StringIO) -> None:
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.extend(arguments)

    async def nothing(*_: Any) -> Any:
        raise AssertionError("not called")

    scope = {"type": "lifespan"}
    await RequestTelemetry(app)(scope, nothing, nothing)
    assert seen == [scope, nothing, nothing]
    assert lines(log) == []


def test_lines_of_the_standard_library_come_out_alike(log: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("listening on %s", "127.0.0.1", extra={"port": 8000})
    (line,) = lines(log)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "listening on 127.0.0.1", "level": "warning", "logger": "uvicorn.error", "port": 8000}


def test_the_access_log_of_uvicorn_is_silent(log: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").error("GET /?code=hush")
    assert log.getvalue() == ""


def test_lines_below_the_level_are_left_out(log: io.StringIO) -> None:
    structlog.get_logger("server").debug("detail")
    assert log.getvalue() == ""


def test_the_console_format_is_text_for_a_person(log: io.StringIO) -> None:
    stream = io.StringIO()
    configure_logging(level="info", log_format="console", stream=stream)
    structlog.get_logger("server").info("started", port=8000)
    assert "started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    assert log.getvalue() == ""
