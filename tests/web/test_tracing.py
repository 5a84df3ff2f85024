"""Traces of requests: inside the caller's own trace, without secrets, and none where none are asked for."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tawtin.web import app as web_app
from tawtin.web.tracing import Traced, open_tracer
from tests.web.harness import running
from tests.web.raw import request


def test_a_request_is_a_span_of_the_callers_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def into_memory(endpoint: str, factory: str) -> Traced:
        return Traced(provider)

    monkeypatch.setattr(web_app, "open_tracer", into_memory)
    trace = "0af7651916cd43dd8448eb211c80319c"
    with running(tmp_path) as factory:
        key = factory.key("traced")
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-Id": "mine"}
        request(factory.url, "GET", "/api/v1/workloads?before=secret", key=key, headers=headers)
        factory.until(lambda: bool(exporter.get_finished_spans()), "the span")
    (span, *_) = exporter.get_finished_spans()
    assert span.name == "GET /api/v1/workloads"
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == trace
    said = dict(span.attributes or {})
    assert (said["http.response.status_code"], said["tawtin.tenant"], said["tawtin.request_id"]) == (
        200,
        "traced",
        "mine",
    )
    assert key not in str(said)
    assert "secret" not in str(said)


def test_a_missing_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:  # noqa: ANN401 - as the builtin has it
        if name.startswith("opentelemetry"):
            raise ImportError(f"no {name}", name=name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"install `tawtin\[otel\]`"):
        open_tracer("http://127.0.0.1:4318", "casa")


def test_without_the_setting_nothing_is_imported() -> None:
    code = "import tawtin.web.app, sys; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
