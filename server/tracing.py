"""Traces, from a device's request through the group commit and the outbox to the job that it asked for.

Spans are made only after `start_tracing` was given an endpoint: then it imports the OpenTelemetry SDK and exports them
over OTLP/HTTP in the background. Before that every function here returns at once. The SDK reads its other standard
variables itself (`OTEL_SERVICE_NAME`, samplers, headers:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).

FastAPI's own spans are switched off: they hold addresses with their query strings, which nothing here writes down. A
trace crosses a transaction by a column: the outbox row keeps the `traceparent` (W3C Trace Context) of the commit that
made it, and the job goes on from there, hours later if need be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

LINKS_MAX = 32
"""Waiters of one group commit that its span points to, besides its parent."""

EXPORT_SECONDS_MAX = 2.0
"""How long a collector may take for what it is sent; a process that stops waits for it as long at most."""

_tracer: Tracer | None = None
_propagator = TraceContextTextMapPropagator()


def start_tracing(endpoint: str | None, *, process: str) -> None:
    """Export spans of this process to an OTLP/HTTP endpoint from now on; without one nothing happens."""
    global _tracer  # noqa: PLW0603  one for each process, as the SDK's own provider is
    if endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  costs memory
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS_MAX)
    provider = TracerProvider(resource=Resource.create({"service.name": f"tallystick-{process}"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("tallystick")


def here() -> SpanContext | None:
    """The span that is open now, to be pointed to from elsewhere; None when nobody records it."""
    if _tracer is None:
        return None
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


def trace_id() -> str | None:
    """The trace that is being recorded now, as 32 hexadecimal digits."""
    found = here()
    return None if found is None else f"{found.trace_id:032x}"


def traceparent() -> str | None:
    """What a row keeps so that somebody else can go on with this trace; None when nobody records it."""
    found = here()
    if found is None:
        return None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


@contextmanager
def span(name: str, attributes: Mapping[str, str], *, caused_by: Iterable[SpanContext | None]) -> Iterator[None]:
    """A span around the block; the first of `caused_by` that is recorded is its parent, the next ones are linked."""
    if _tracer is None:
        yield
        return
    causes = [cause for cause in caused_by if cause is not None]
    parent = trace.set_span_in_context(NonRecordingSpan(causes[0]), Context()) if causes else Context()
    links = [Link(cause) for cause in causes[1 : LINKS_MAX + 1]]
    with _tracer.start_as_current_span(name, parent, SpanKind.INTERNAL, attributes, links):
        yield


@contextmanager
def resumed(name: str, kind: SpanKind, attributes: Mapping[str, str], parent: str | None) -> Iterator[Span]:
    """A span around the block that goes on with the trace of a `traceparent`, or begins one."""
    if _tracer is None:
        yield INVALID_SPAN
        return
    before = _propagator.extract({"traceparent": parent} if parent else {}, Context())
    with _tracer.start_as_current_span(name, before, kind, attributes) as opened:
        yield opened
