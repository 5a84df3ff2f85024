"""What a body asks for, and the body as a replica gets it: untouched, unless usage has to be asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from tawtin.gateway.snapshot import Model

PATHS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
_STREAM_OPTIONS: Final = ("/v1/chat/completions", "/v1/completions")
"""Where usage of a stream has to be asked for."""
_USAGE: Final = b'"stream_options":{"include_usage":true}'
_DEPTH_SAYS: Final = "it is nested too deeply"
_N_MAX: Final = 128
_TEXTS: Final = (b'"messages"', b'"prompt"', b'"input"')


class Ask:
    """A request for a model."""

    __slots__ = ("answers", "body", "fields", "model", "path", "stream", "tokens_out_asked", "wants_usage")

    def __init__(self, path: str, body: bytes) -> None:
        """Read it. Raises Problem with the field that is wrong."""
        self.path = path
        self.body = body
        self.fields = fields = parsed(body)
        model = fields.get("model")
        if not isinstance(model, str) or not model:
            raise _wrong("model", "has to be the name of a model")
        self.model = model
        stream = fields.get("stream")
        if stream is not None and not isinstance(stream, bool):
            raise _wrong("stream", "has to be true or false")
        self.stream = bool(stream) and path != "/v1/embeddings"
        options = fields.get("stream_options")
        if options is not None and not isinstance(options, dict):
            raise _wrong("stream_options", "has to be an object")
        wants = cast("dict[str, Any]", options or {}).get("include_usage")
        if wants is not None and not isinstance(wants, bool):
            raise _wrong("stream_options", "has `include_usage`, which has to be true or false")
        self.wants_usage = bool(wants)
        prompts = fields.get("prompt")
        many = len(cast("list[Any]", prompts)) if _is_batch(prompts) else 1
        self.answers = max(1, many) * max(
            _whole(fields, "n", 1, _N_MAX), _whole(fields, "best_of", 1, _N_MAX)
        )
        """How many answers it asks for."""
        asked = [
            _whole(fields, name, -1, 1 << 31)
            for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")
        ]
        self.tokens_out_asked = max(asked)
        """Of each answer, at most; -1 if it does not say."""

    def text(self) -> bytes:
        """The body's first 64 KiB from where its conversation begins: a replica may have seen how it begins."""
        starts = [self.body.find(name) for name in _TEXTS]
        start = min((start for start in starts if start >= 0), default=0)
        return self.body[start : start + (64 << 10)]

    def tokens_in(self, model: Model) -> int:
        """An estimate of the tokens of the request: a quarter of its bytes."""
        return min(len(self.body) // 4 + 1, model.context_tokens_max)

    def tokens_out_max(self, model: Model) -> int:
        """What all answers can come to."""
        if self.path == "/v1/embeddings":
            return 0
        each = self.tokens_out_asked if self.tokens_out_asked >= 0 else model.context_tokens_max
        return min(each, model.context_tokens_max) * self.answers

    @property
    def adds_usage(self) -> bool:
        """Whether usage is asked for in the place of a client that did not, so that what comes of it is taken out."""
        return self.stream and not self.wants_usage and self.path in _STREAM_OPTIONS

    def sent(self, name: str) -> bytes:
        """The body for a replica that calls the model `name` (empty for as here)."""
        renamed = bool(name) and name != self.model
        if not renamed and not self.adds_usage:
            return self.body
        if not renamed and "stream_options" not in self.fields:
            start = self.body.index(b"{") + 1
            return self.body[:start] + _USAGE + b"," + self.body[start:]
        fields = dict(self.fields)
        if renamed:
            fields["model"] = name
        if self.adds_usage:
            options = cast("dict[str, Any]", fields.get("stream_options") or {})
            fields["stream_options"] = {**options, "include_usage": True}
        return json.dumps(fields, separators=(",", ":")).encode()


def _is_batch(prompts: object) -> bool:
    """Whether it is a list of prompts, and not one prompt as a list of tokens."""
    if not isinstance(prompts, list):
        return False
    return not any(isinstance(each, int) for each in cast("list[object]", prompts))


def _whole(fields: dict[str, Any], name: str, default: int, most: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _wrong(name, f"has to be a whole number from 0 to {most}")
    return value


def _wrong(name: str, message: str) -> Problem:
    return Problem(400, f"`{name}` {message}", code="invalid_value", param=name)


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object whose keys stand there once. Raises Problem."""
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8: {error.reason}", code="invalid_json") from None
    except RecursionError:
        raise Problem(400, f"the body cannot be read: {_DEPTH_SAYS}", code="invalid_json") from None
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(found, dict):
        raise Problem(400, "the body is JSON, but no object", code="invalid_json")
    return cast("dict[str, Any]", found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"the key `{twice[:100]}` stands there twice in one object"
        raise ValueError(msg)
    return found


def _no_constant(word: str) -> None:
    msg = f"`{word}` is no number of JSON"
    raise ValueError(msg)
