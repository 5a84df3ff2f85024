"""Whether a file is a batch: JSON Lines, a request in each, all for one model and one path."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from tawtin.gateway.batches.records import LineError
from tawtin.gateway.batches.shelf import Line
from tawtin.gateway.worker.ask import Ask, parsed
from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

ENDPOINTS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
ERRORS_MAX: Final = 100
"""So many wrong lines are named."""
_CUSTOM_ID_MAX: Final = 512
_FIELDS: Final = frozenset(("custom_id", "method", "url", "body"))


class Wrong(Exception):
    """A line is no request of the batch."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        """Keep what is wrong."""
        super().__init__(message)
        self.code = code
        self.param = param


class Checked:
    """What a file comes to. `lines` has its requests, unless there are `errors`."""

    def __init__(self, endpoint: str, models: Container[str], lines_max: int, line_bytes_max: int) -> None:
        """Nothing was read."""
        self.lines: list[Line] = []
        self.errors: list[LineError] = []
        self.model = ""
        self._endpoint = endpoint
        self._models = models
        self._lines_max = lines_max
        self._line_bytes_max = line_bytes_max
        self._seen: set[str] = set()

    def wrong(self, error: Wrong, line: int | None = None) -> None:
        """Keep an error."""
        self.errors.append(LineError(code=error.code, message=str(error), param=error.param, line=line))

    def take(self, number: int, start: int, raw: bytes) -> None:
        """Take a line. Raises Wrong."""
        most = self._lines_max
        if number > most:
            raise Wrong("too_many_requests", f"a batch has at most {most} requests: make several of them")
        if len(raw) > self._line_bytes_max:
            raise Wrong("line_too_long", f"the line is longer than {self._line_bytes_max} bytes: send less")
        custom_id, model = _request(raw, self._endpoint, self._models)
        if custom_id in self._seen:
            said = f"`{custom_id[:100]}` is the `custom_id` of an earlier line"
            raise Wrong("duplicate_custom_id", said, "custom_id")
        self.model = self.model or model
        if model != self.model:
            said = f"`{model}` is not the model of the lines before, `{self.model}`: one batch, one model"
            raise Wrong("mismatched_model", said, "body.model")
        self._seen.add(custom_id)
        self.lines.append(Line(number=number, start=start, length=len(raw), custom_id=custom_id))


def check(
    source: BinaryIO, endpoint: str, models: Container[str], *, lines_max: int, line_bytes_max: int
) -> Checked:
    """Read a whole file. Blocks."""
    found = Checked(endpoint, models, lines_max, line_bytes_max)
    start = 0
    for number, raw in enumerate(_lines(source, line_bytes_max), 1):
        try:
            found.take(number, start, raw)
        except Wrong as error:
            found.wrong(error, number)
            if len(found.errors) >= ERRORS_MAX or number > lines_max or len(raw) > line_bytes_max:
                break
        start += len(raw)
    if not found.lines and not found.errors:
        found.wrong(Wrong("empty_file", "there is no request in the file"))
    return found


def _lines(source: BinaryIO, most: int) -> Iterator[bytes]:
    """The lines of a file with their line breaks; one that is longer than `most` is cut there and is the last."""
    while raw := source.readline(most + 1):
        yield raw


class _Request(msgspec.Struct, frozen=True):
    body: msgspec.Raw


def body_of(raw: bytes) -> bytes:
    """The body of the request in a line, as it was written. Raises msgspec.DecodeError where none was checked."""
    return bytes(msgspec.json.decode(raw, type=_Request).body)


def _request(raw: bytes, endpoint: str, models: Container[str]) -> tuple[str, str]:
    """The `custom_id` and the model of a line. Raises Wrong."""
    try:
        fields = parsed(raw)
    except Problem as problem:
        raise Wrong("invalid_json_line", str(problem)) from None
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise Wrong(
            "unknown_parameter", f"`{unknown[0][:100]}` has no meaning here: leave it out", unknown[0][:100]
        )
    custom_id, method, url, body = (fields.get(name) for name in ("custom_id", "method", "url", "body"))
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= _CUSTOM_ID_MAX:
        raise Wrong("invalid_custom_id", f"has to be text of 1 to {_CUSTOM_ID_MAX} characters", "custom_id")
    if method != "POST":
        raise Wrong("invalid_method", "`method` has to be `POST`", "method")
    if url != endpoint:
        raise Wrong("invalid_url", f"`url` has to be the batch's own, `{endpoint}`", "url")
    if not isinstance(body, dict):
        raise Wrong("invalid_body", "`body` has to be an object", "body")
    try:
        ask = Ask(endpoint, body_of(raw))
    except Problem as problem:
        raise Wrong(
            problem.code, str(problem), f"body.{problem.param}" if problem.param else "body"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Wrong("invalid_json_line", "the line is no proper JSON") from None
    if ask.stream:
        raise Wrong("invalid_value", "`stream` has no meaning in a batch: leave it out", "body.stream")
    if ask.model not in models:
        raise Wrong(
            "model_not_found",
            f"there is no model `{ask.model[:127]}`: GET /v1/models lists them",
            "body.model",
        )
    return custom_id, ask.model
