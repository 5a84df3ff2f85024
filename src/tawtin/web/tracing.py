"""OpenTelemetry traces of requests, where a setting asks for them. Without it nothing is imported or done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import tawtin

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORT_SECONDS_MAX: Final = 3
Headers = list[tuple[bytes, bytes]]


class Span(Protocol):
    """One request as it is traced."""

    def end(self, status: int, request_id: str, tenant: str) -> None:
        """Say how it ended."""
        ...


class Tracer(Protocol):
    """Begins spans."""

    def begin(self, method: str, route: str, headers: Headers) -> Span:
        """Begin the span of one request, inside the caller's own trace if it sent `traceparent`."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class _Silent:
    """Traces nothing."""

    def begin(self, method: str, route: str, headers: Headers) -> Span:  # noqa: ARG002 - as a Tracer has it
        """Give a span that goes nowhere."""
        return self

    def end(self, status: int, request_id: str, tenant: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


_SILENT: Final = _Silent()


def open_tracer(endpoint: str, factory: str) -> Tracer:
    """Return what traces to `endpoint` (OTLP over HTTP); it does nothing if that is empty.

    Raises ValueError if the extra is missing.
    """
    if not endpoint:
        return _SILENT
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - the same
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same
    except ImportError as error:
        msg = f"`telemetry.otlp_endpoint` is `{endpoint}`, but {error.name} is not installed: install `tawtin[otel]`"
        raise ValueError(msg) from error
    resource = Resource.create(
        {"service.name": "tawtin", "service.version": tawtin.__version__, "tawtin.factory": factory}
    )
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=EXPORT_SECONDS_MAX)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traced(provider)


class Traced:
    """Traces to a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        """Keep the provider."""
        self._provider = provider
        self._tracer: Any = provider.get_tracer("tawtin.web", tawtin.__version__)

    def begin(self, method: str, route: str, headers: Headers) -> Span:
        """Begin a server's span."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - the same

        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in headers
            if name in {b"traceparent", b"tracestate"}
        }
        context = TraceContextTextMapPropagator().extract(carrier) if carrier else None
        attributes = {"http.request.method": method, "http.route": route}
        span = self._tracer.start_span(
            f"{method} {route}", context=context, kind=SpanKind.SERVER, attributes=attributes
        )
        return _Traced(span)

    def close(self) -> None:
        """Send what is left, and end the thread that sends."""
        self._provider.shutdown()


class _Traced:
    def __init__(self, span: Any) -> None:  # noqa: ANN401 - a span of the extra
        self._span = span

    def end(self, status: int, request_id: str, tenant: str) -> None:
        """Say how it ended."""
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("tawtin.request_id", request_id)
        if tenant:
            self._span.set_attribute("tawtin.tenant", tenant)
        if status >= 500:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra

            self._span.set_status(StatusCode.ERROR)
        self._span.end()
