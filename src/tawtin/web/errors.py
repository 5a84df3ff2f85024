"""Whatever goes wrong becomes a problem document (RFC 9457) that names the place and what to do next."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import msgspec

from tawtin.model.views import FieldError, Problem
from tawtin.runtime import errors as service_errors
from tawtin.spec.errors import SpecError

MEDIA: Final = b"application/problem+json"
_STATUSES: Final[dict[type[service_errors.ServiceError], int]] = {
    service_errors.NotFound: 404,
    service_errors.Denied: 403,
    service_errors.Refused: 422,
    service_errors.Conflict: 409,
    service_errors.VersionMismatch: 412,
    service_errors.Invalid: 400,
    service_errors.Full: 507,
    service_errors.Unavailable: 503,
    service_errors.Overloaded: 503,
}
_AT: Final = re.compile(r" - at (?:the key in )?`(?:key in )?([^`]*)`$")
_BYTE: Final = re.compile(r" \(byte (\d+)\)$")


class HttpError(Exception):
    """A request that is answered with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        token: str,
        *,
        errors: tuple[FieldError, ...] = (),
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        """Keep what the answer says."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.token = token
        self.errors = errors
        self.headers = headers


def problem_of(error: Exception) -> tuple[Problem, list[tuple[bytes, bytes]]]:
    """Return the problem for `error`, and headers that belong to it. What is unknown becomes a 500 without details."""
    match error:
        case HttpError():
            return (
                _problem(error.status, error.detail, error.token, error.errors),
                list(error.headers),
            )
        case SpecError():
            count = len(error.errors)
            detail = f"the spec has {count} mistakes" if count > 1 else error.errors[0].message
            return _problem(422, detail, "InvalidSpec", error.errors), []
        case service_errors.Invalid():
            return _problem(400, str(error), error.token, error.errors), []
        case service_errors.Refused():
            return _problem(422, str(error), str(error.token), error.errors), []
        case service_errors.Unavailable():
            seconds = max(1, -(-error.retry_after_ms // 1000))
            problem = _problem(503, str(error), error.token)
            return (
                msgspec.structs.replace(problem, retry_after_ms=error.retry_after_ms),
                [(b"retry-after", str(seconds).encode())],
            )
        case service_errors.ServiceError():
            status = next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), 500)
            return _problem(status, str(error), str(error.token)), []
        case _:
            return _problem(
                500,
                "the factory failed at this request; its log says why, under the request's id",
                "Internal",
            ), []


def _problem(status: int, detail: str, token: str, errors: tuple[FieldError, ...] = ()) -> Problem:
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, token=token, errors=errors)


def invalid_json(body: bytes, error: Exception) -> HttpError:
    """Return the answer to a body that is not the JSON that was asked for."""
    match error:
        case RecursionError():
            return HttpError(400, "the JSON is nested too deeply: no record of ours needs that", "Invalid")
        case UnicodeDecodeError():
            return _malformed("the JSON is not UTF-8", body, error.start if error.object is body else None)
        case msgspec.ValidationError():
            place = field_error(str(error))
            detail = f"`{place.field}`: {place.message}" if place.field else place.message
            return HttpError(400, detail, "Invalid", errors=(place,))
        case _:
            text = _plain(str(error))
            byte = _BYTE.search(text)
            return _malformed(_BYTE.sub("", text), body, int(byte[1]) if byte else None)


def field_error(message: str) -> FieldError:
    """Return the place and the words of a message of msgspec, such as ``Expected `int` - at `$.spec.x` ``."""
    at = _AT.search(message)
    place = at[1].removeprefix("$").removeprefix(".") if at else ""
    text = _plain(_AT.sub("", message))
    unknown = re.fullmatch(r"object contains unknown field `(.*)`", text, re.DOTALL)
    if unknown:
        name = _short(unknown[1])
        return FieldError(
            message=f"no field `{name}` is known here: see /api/v1/openapi.json for those that are",
            field=f"{place}.{name}" if place else name,
        )
    missing = re.fullmatch(r"object missing required field `(.*)`", text)
    if missing:
        return FieldError(
            message="is missing: give it", field=f"{place}.{missing[1]}" if place else missing[1]
        )
    return FieldError(message=text, field=place)


def _malformed(text: str, body: bytes, byte: int | None) -> HttpError:
    if byte is None:
        return HttpError(400, text, "Invalid", errors=(FieldError(message=text),))
    line = body.count(b"\n", 0, byte) + 1
    column = byte - (body.rfind(b"\n", 0, byte) + 1) + 1
    place = FieldError(message=text, line=line, column=column)
    return HttpError(400, f"{text}, at line {line}, column {column}", "Invalid", errors=(place,))


def _plain(text: str) -> str:
    return text[:1].lower() + text[1:] if not text.startswith("JSON") else text


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "..."
