"""One delivery is one trace: from its arrival through hook and checks to what its runner was asked."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from bassloop.runtimes import Runtime
from bassloop.telemetry import spans
from bassloop.telemetry.exporter import trace_id, tracing_to
from tests.loop.test_whole_path import check_run, tried

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.repositories import MakeRepository


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {})[name]


def parent(span: ReadableSpan, spans: Mapping[int, ReadableSpan]) -> str | None:
    """The name of the span that one is within."""
    return None if span.parent is None else spans[span.parent.span_id].name


async def test_a_delivery_is_one_trace_through_hook_checks_and_calls(
    make_repository: MakeRepository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Mapping[str, str]] = []
    make_call = Runtime._make_call

    def noted(self: Runtime, call: Any, *rest: Any) -> Any:
        sent.append(call.metadata)
        return make_call(self, call, *rest)

    monkeypatch.setattr(Runtime, "_make_call", noted)
    exporter = InMemorySpanExporter()
    with tracing_to(exporter):
        async with tried(make_repository(':ok (on src ($ sh -c "true"))')) as trial:
            guid, check = trial.guid, check_run(trial, "ok")
    spans = [
        each
        for each in exporter.get_finished_spans()
        if each.context.trace_id == uuid.UUID(guid).int
    ]
    by_id = {each.context.span_id: each for each in spans}
    named = {each.name: each for each in spans}
    assert parent(named["accept"], by_id) is None
    assert parent(named["delivery"], by_id) is None
    assert parent(named["hook"], by_id) == "delivery"
    assert parent(named["check"], by_id) == "hook"
    assert parent(named["rpc Run"], by_id) == "check"
    assert attribute(named["hook"], "outcome") == "done"
    assert attribute(named["check"], "outcome") == "succeeded"
    assert attribute(named["check"], "run") == check["external_id"]
    assert attribute(named["rpc Run"], "outcome") == "ok"
    assert any(parent(each, by_id) == "delivery" for each in spans if each.name == "github")
    told = {each["traceparent"] for each in sent}
    assert f"00-{uuid.UUID(guid).hex}-{named['rpc Run'].context.span_id:016x}-01" in told


def test_an_error_is_recorded_on_its_span() -> None:
    exporter = InMemorySpanExporter()
    with tracing_to(exporter), pytest.raises(KeyError), spans.span("work", trace="no hex"):
        raise KeyError("lost")
    [span] = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.context.trace_id == trace_id("no hex")


def test_a_span_without_a_tracer_does_nothing() -> None:
    with spans.span("work", run="r") as span:
        span.set_attribute("outcome", "ok")
    assert spans.headers() == {}


def test_a_daemon_without_traces_does_not_import_opentelemetry() -> None:
    code = """
import sys, bassloop.daemon.serve
from bassloop.settings import Settings
from bassloop.daemon.wiring import traces
with traces(Settings()):
    sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_is_reported_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bassloop.daemon import StartError
    from bassloop.daemon.wiring import traces
    from bassloop.settings import Settings

    monkeypatch.setitem(sys.modules, "bassloop.telemetry.exporter", None)
    with pytest.raises(StartError, match=r"pipx install '\.\[otel\]'"):
        traces(Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:4318"))
