"""Traces for OpenTelemetry. It needs the extra `bassloop[otel]`, and is imported only if traces are exported.

A delivery's id is its trace's id, so that one leads to the other, and all attempts to handle a delivery, including
those before a restart, are in one trace.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from bassloop import __version__
from bassloop.telemetry import spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import Span

FLUSH_MILLISECONDS = 3000

_wanted: ContextVar[int | None] = ContextVar("bassloop.trace", default=None)


@contextmanager
def tracing_to(exporter: SpanExporter) -> Iterator[None]:
    """Export the spans of this task and its children, in batches and from a thread. The rest is exported on exit."""
    resource = Resource.create({"service.name": "bassloop", "service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=_Ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        with spans.listening(_Tracer(provider)):
            yield
    finally:
        provider.force_flush(FLUSH_MILLISECONDS)
        provider.shutdown()


def collector(endpoint: str) -> SpanExporter:
    """Return an exporter that sends spans to a collector over HTTP. It respects `OTEL_EXPORTER_OTLP_HEADERS`."""
    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=FLUSH_MILLISECONDS / 1000)


def trace_id(delivery: str) -> int:
    """Return the trace id for a delivery: its guid if that has 128 bits in hex, or else a hash of it."""
    try:
        return uuid.UUID(delivery).int
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, delivery).int


class _Ids(RandomIdGenerator):
    """Generates random ids, except for a trace whose id is given."""

    def generate_trace_id(self) -> int:
        return _wanted.get() or super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Return False, since not all bits of a delivery's guid are random."""
        return False


class _Tracer:
    """`spans.Tracer`, by OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("bassloop", __version__)

    @contextmanager
    def span(
        self, name: str, attributes: Mapping[str, spans.Value], trace: str | None
    ) -> Iterator[Span]:
        dotted = {key.replace("__", "."): value for key, value in attributes.items()}
        parent = None if trace is None else Context()
        token = _wanted.set(None if trace is None else trace_id(trace))
        try:
            starting = self._tracer.start_as_current_span(name, context=parent, attributes=dotted)
            with starting as span:
                yield span
        finally:
            _wanted.reset(token)

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        inject(headers)
        return headers
