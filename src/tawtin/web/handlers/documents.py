"""Documents that are made from the code or from counters: the OpenAPI document, metrics."""

from __future__ import annotations

from tawtin.web.exchange import Answer, Exchange
from tawtin.web.metrics import CONTENT_TYPE, render
from tawtin.web.openapi import document_bytes


async def openapi(_: Exchange) -> Answer:
    """Give this API as an OpenAPI 3.1 document."""
    return Answer(document_bytes())


async def metrics(exchange: Exchange) -> Answer:
    """Give counters and gauges as Prometheus text. See the setting `metrics` for who may read them."""
    return Answer(render(exchange.service, exchange.requests), media=CONTENT_TYPE)
