"""The operator's own function that takes out of requests what no replica is to see. What it cannot do goes nowhere."""

from __future__ import annotations

import importlib
import json
import logging
from typing import TYPE_CHECKING, Any, cast

from tawtin.gateway.worker.ask import Ask
from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("tawtin.gateway.worker")


class Redaction:
    """`module:function`, which takes the fields of a request's body and returns those that go on."""

    def __init__(self, name: str) -> None:
        """Load it; empty is none. One that cannot be loaded refuses every request."""
        self.name = name
        self._call: Callable[[dict[str, Any]], object] | None = None
        if not name:
            return
        module, _, function = name.partition(":")
        try:
            self._call = getattr(importlib.import_module(module), function)
        except Exception:
            log.exception("`gateway.redact` cannot be loaded, so that every request is refused")

    def __call__(self, ask: Ask) -> Ask:
        """The request as it goes on, read again. Raises Problem."""
        if not self.name:
            return ask
        if self._call is None:
            raise Problem(
                500, f"`{self.name}`, which redacts requests, cannot be loaded: the operator's log says why",
                code="redaction_failed",
            )  # fmt: skip
        try:
            found = self._call(ask.fields)
            body = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing goes on
            # the kind alone: a message may hold what was asked
            raise Problem(
                500, f"`{self.name}`, which redacts requests, failed ({type(error).__name__}): nothing was sent",
                code="redaction_failed",
            ) from None  # fmt: skip
        if not isinstance(found, dict) or cast("dict[str, Any]", found).get("model") != ask.model:
            raise Problem(
                500, f"`{self.name}` has to return the fields of a request for the same model: nothing was sent",
                code="redaction_failed",
            )  # fmt: skip
        return Ask(ask.path, body)
