"""One line per event for whoever watches the server: logging through structlog, and a layer that logs each request.

Assumes one configuration per process. Query strings, bodies and headers are never logged: they hold tokens, names and
money.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal, TextIO

import orjson
import structlog
from opentelemetry.trace import Span, SpanKind

from server import metrics, tracing

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]

PATH_CHARACTERS_MAX = 200
PROBLEM_TYPE = b"application/problem+json"
SERVER_FAULT = 500

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, https://www.w3.org/TR/trace-context/: version, trace id, parent id, flags; all zeros and version ff
# are void, and only a version later than 00 may go on after the flags.
_TRACEPARENT = re.compile(
    rb"(?:00-(?P<now>[0-9a-f]{32})|(?!ff)[0-9a-f]{2}-(?P<later>[0-9a-f]{32}))-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<rest>-.*)?"
)
_NO_TRACE = b"0" * 32
_SECRET_PART = re.compile(r"(?<=/)[A-Za-z0-9_-]{43}(?=/)")  # 32 bytes in base64url, as tracking codes are


def configure_logging(*, level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Send the lines of structlog and of the standard library alike to `stream` (stdout when None).

    Every line has `timestamp` (UTC, ISO 8601), `level`, `logger` and `event`; in a request its `request_id` and
    `trace_id`. Start Uvicorn with `log_config=None`, so that it leaves this alone. Two loggers that write whole URLs
    with their query strings are silenced: Uvicorn's access log and the requests of the HTTP client.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    else:
        last += [structlog.dev.ConsoleRenderer()]
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class RequestTelemetry:
    """The outermost ASGI layer: names each request, also in its answer, and logs one line when the answer has ended.

    Put it around the finished application (`RequestTelemetry(app)`), not among its middleware: there it would miss the
    answers to unhandled exceptions. `monotonic` returns seconds.
    """

    def __init__(self, app: Application, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._monotonic = monotonic
        self._log = structlog.stdlib.get_logger("server.request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one ASGI connection on; whatever is not HTTP goes by untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traceparent = _header(scope, b"traceparent").decode("latin-1")
        with tracing.resumed(scope["method"], SpanKind.SERVER, {}, traceparent) as span:
            await self._serve(scope, receive, send, span)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        request_id = _request_id(scope)
        exchange = _Exchange(receive=receive, send=send, request_id=request_id)
        path, started = scope["path"], self._monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id, trace_id=_trace_id(scope)):
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except Exception:
                exchange.status = exchange.status or SERVER_FAULT
                self._report(scope, path, started, exchange, span, exc_info=True)
                raise
            except BaseException:  # the task was cancelled: the server goes down or gave the client up
                exchange.is_disconnected = not exchange.is_complete
                self._report(scope, path, started, exchange, span)
                raise
            self._report(scope, path, started, exchange, span)

    def _report(
        self, scope: Scope, path: str, started: float, exchange: _Exchange, span: Span, **extra: object
    ) -> None:
        template, seconds = _path_template(scope, path), self._monotonic() - started
        if exchange.problem:
            extra["problem"] = exchange.problem
        route = template if "endpoint" in scope else metrics.NO_ROUTE
        outcome = exchange.problem or ("answered" if exchange.is_complete else "cut")
        span.update_name(f"{scope['method']} {route}")
        span.set_attributes({"http.response.status_code": exchange.status or 0, "tallystick.outcome": outcome})
        metrics.count_request(
            method=scope["method"],
            route=route,
            status=exchange.status,
            seconds=seconds,
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            outcome=outcome,
        )
        if "exc_info" in extra or (exchange.status or 0) >= SERVER_FAULT:
            log = self._log.error
        else:
            log = self._log.warning if exchange.is_disconnected else self._log.info
        log(
            "request",
            method=scope["method"],
            path=template,
            status=exchange.status,
            latency_ms=round(seconds * 1000, 3),
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            disconnected=exchange.is_disconnected,
            **extra,
        )


class _Exchange:
    """What passes between one client and the application, counted."""

    def __init__(self, *, receive: Receive, send: Send, request_id: str) -> None:
        self._receive = receive
        self._send = send
        self._request_id = request_id.encode()
        self.status: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.is_complete = False
        self.is_disconnected = False
        self.problem: str | None = None
        self._is_problem = False

    async def receive(self) -> Message:
        """The next message of the client."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
        elif message["type"] == "http.disconnect" and not self.is_complete:
            # After a complete answer the same message only says that the exchange is over.
            self.is_disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the application on, with the request's name in the first one."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"x-request-id"]
            message = {**message, "headers": [*named, (b"x-request-id", self._request_id)]}
            self._is_problem = (b"content-type", PROBLEM_TYPE) in named
        elif self._is_problem:
            self._note_problem(message)
        await self._send(message)
        if message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)

    def _note_problem(self, message: Message) -> None:
        """Keep the code of the problem document that is passing by, whoever made it."""
        self.problem = str(orjson.loads(message["body"])["code"])
        metrics.count_problem(self.problem)


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def _trace_id(scope: Scope) -> str:
    recorded = tracing.trace_id()
    if recorded is not None:  # a span is open around us, which has read the header already
        return recorded
    match = _TRACEPARENT.fullmatch(_header(scope, b"traceparent"))
    if match is not None and not (match["now"] and match["rest"]):
        trace_id = match["now"] or match["later"]
        if trace_id != _NO_TRACE:
            return str(trace_id, "ascii")
    return secrets.token_hex(16)


def _header(scope: Scope, name: bytes) -> bytes:
    # A header sent twice is nobody's word.
    values = [value for key, value in scope["headers"] if key == name]
    return values[0] if len(values) == 1 else b""


def _path_template(scope: Scope, path: str) -> str:
    # A template groups requests and holds no ids or secrets. It is made from the path and the values of its parameters,
    # because `scope["route"]` knows only the part below the router or mount that the route was included by.
    template, rest = "", f"{path}/"
    for name, value in scope.get("path_params", {}).items():
        before, found, after = rest.partition(f"/{value}/")
        if found and value != "":
            template, rest = f"{template}{before}/{{{name}}}", f"/{after}"
    rest = _SECRET_PART.sub("{secret}", rest)  # no route has named it: turned away before, or mistyped around it
    return f"{template}{rest}".removesuffix("/")[:PATH_CHARACTERS_MAX] or "/"


def _json(entry: Any, **_: object) -> str:
    return orjson.dumps(entry, default=repr).decode()
