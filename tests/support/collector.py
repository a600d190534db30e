"""An OpenTelemetry collector for tests: takes traces over OTLP/HTTP and lets a test wait for the span it expects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SECONDS_MAX = 60


class Collector:
    """Every span that has come, with the service it came from."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._spans: list[tuple[str, Any]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def take(self, body: bytes) -> None:
        """Keep what an exporter has sent."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._news:
            for resource in request.resource_spans:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self._spans += [(names["service.name"], span) for span in scope.spans]
            self._news.notify_all()

    def expect(self, service: str, name: str, trace_id: bytes | None = None) -> Any:
        """The first span of that name, of that trace if one is given; fails the test when none comes."""

        def found() -> Any:
            return next(
                (
                    span
                    for sender, span in self._spans
                    if (sender, span.name) == (service, name) and trace_id in {None, span.trace_id}
                ),
                None,
            )

        with self._news:
            span = self._news.wait_for(found, timeout=SECONDS_MAX)
            assert span is not None, (service, name, [(sender, span.name) for sender, span in self._spans])
            return span

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Take requests while the block runs."""
        thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    made = Collector()
    with made.serving():
        yield made


def _handler(taker: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces", self.path
            taker.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    return Handler
