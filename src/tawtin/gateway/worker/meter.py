"""How many tokens an answer had: by the replica's own count, if that can be, else by an estimate that is marked."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from tawtin.core.meter import tokens_micro

if TYPE_CHECKING:
    from tawtin.gateway.snapshot import Model
    from tawtin.gateway.worker.ask import Ask

_EVENT: Final = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)", re.DOTALL)
_BREAKS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_TEMPLATE_TOKENS_MAX: Final = 65_536
"""What a replica may add to a request by its template and by reading pictures, beyond one token a byte."""


class Count(NamedTuple):
    """Tokens of a request and its answer."""

    tokens_in: int
    tokens_out: int
    estimated: bool


class TooLong(Exception):
    """An event of a stream has no end."""


def usage_in(answer: object) -> tuple[object, object] | None:
    """The replica's count in an answer, or in an event of a stream; None if it has none."""
    if not isinstance(answer, dict):
        return None
    fields = cast("dict[str, Any]", answer)
    usage = fields.get("usage")
    if usage is None and isinstance(fields.get("response"), dict):
        usage = cast("dict[str, Any]", fields["response"]).get("usage")
    if not isinstance(usage, dict):
        return None
    said = cast("dict[str, object]", usage)
    if "input_tokens" in said:
        return said["input_tokens"], said.get("output_tokens", 0)
    return said.get("prompt_tokens"), said.get("completion_tokens", 0)


def counted(ask: Ask, model: Model, said: tuple[object, object] | None, guess_out: int) -> Count:
    """What is charged. A count that the request cannot have come to is not believed."""
    out_max = ask.tokens_out_max(model)
    if said is not None:
        tokens_in, tokens_out = said
        if (
            type(tokens_in) is int
            and type(tokens_out) is int
            and 0 <= tokens_in <= len(ask.body) + _TEMPLATE_TOKENS_MAX
            and 0 <= tokens_out <= out_max
        ):
            return Count(tokens_in, tokens_out, estimated=False)
    return Count(ask.tokens_in(model), min(guess_out, out_max), estimated=True)


def micro(model: Model, tokens_in: int, tokens_out: int, percent: int = 100) -> int:
    """So many per cent of the price at this model's prices, in millionths of a minor unit, rounded down."""
    whole = tokens_micro(
        tokens_in,
        tokens_out,
        input_minor_per_million=model.input_minor_per_million,
        output_minor_per_million=model.output_minor_per_million,
    )
    return whole * percent // 100


class StreamMeter:
    """Reads the events of a stream as they pass."""

    def __init__(self, event_bytes_max: int, *, strip: bool) -> None:
        """`strip` takes out the event that is there for the sake of usage alone."""
        self.said: tuple[object, object] | None = None
        self.done = False
        """Whether the stream said that it is whole."""
        self.passed = False
        """Whether anything went on to the client."""
        self._most = event_bytes_max
        self._strip = strip
        self._rest: list[bytes] = []
        """What came of an event that is not whole."""
        self._seam = b""
        """Its last bytes: what ends it may be cut in two."""
        self._held = 0
        """Its length."""
        self._events = 0
        self._bytes = 0
        self._least = 1 << 30

    def feed(self, data: bytes) -> bytes:
        """Take what came; return what goes on: whole events. Raises TooLong."""
        if not self._rest and data.endswith(b"\n\n"):
            return self._whole(data)  # as nearly all of them come
        rest, seam = self._rest, self._seam
        found = seam + data
        cut = max(at + len(end) if (at := found.rfind(end)) >= 0 else 0 for end in _BREAKS) - len(seam)
        if cut <= 0:
            rest.append(data)
            self._seam = found[-3:]
            self._held += len(data)
            if self._held > self._most:
                raise TooLong
            return b""
        whole = b"".join((*rest, data[:cut]))
        self._rest = [data[cut:]] if cut < len(data) else []
        self._seam = data[cut:][-3:]
        self._held = len(data) - cut
        if self._held > self._most:
            raise TooLong
        return self._whole(whole)

    def _whole(self, events: bytes) -> bytes:
        """What goes on of whole events."""
        counts = b'"usage"' in events and events.count(b'"usage"') != events.count(b'"usage":null')
        if counts or b"[DONE]" in events:
            return b"".join([event for event in _EVENT.findall(events) if self._passes(event)])
        self._count(events, events.count(b"data:"))
        return events

    def _count(self, passed: bytes, events: int) -> None:
        self.passed = True
        if events:
            size = len(passed)
            self._events += events
            self._bytes += size
            each = size // events
            self._least = min(self._least, each)

    def _passes(self, event: bytes) -> bool:
        data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        if data == b"[DONE]":
            self.done = True
        elif b'"usage"' in data:
            try:
                found = json.loads(data)
            except ValueError:
                found = None
            said = usage_in(found)
            if said is not None:
                self.said = said
                if self._strip and cast("dict[str, Any]", found).get("choices") == []:
                    return False
        self._count(event, 1 if data and data != b"[DONE]" else 0)
        return True

    def guess(self) -> int:
        """Tokens that went by, where the replica has not said: events, or more if there is more in them."""
        if not self._events:
            return 0
        return max(self._events - 1, (self._bytes - self._events * self._least) // 4)
