"""Query parameters become the record that a route declares; what is unknown, doubled or malformed is named."""

from __future__ import annotations

from functools import cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from tawtin.model.base import Record
from tawtin.model.requests import NoQuery
from tawtin.model.views import FieldError
from tawtin.web.errors import HttpError, field_error

PARAMETERS_MAX: Final = 32
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


@cache
def _kinds(record: type[Record]) -> dict[str, str]:
    """Name of each parameter -> `list`, `bool` or `plain`."""
    kinds: dict[str, str] = {}
    for field in msgspec.structs.fields(record):
        found = msgspec.inspect.type_info(field.type)
        lists = isinstance(found, msgspec.inspect.VarTupleType)
        kinds[field.encode_name] = "list" if lists else "bool" if field.type is bool else "plain"
    return kinds


@cache
def _empty(record: type[Record]) -> Record:
    return record()


def query_of(record: type[Record], raw: bytes) -> Record:
    """Return the parameters in `raw`. Lists are separated by commas. Raises HttpError that names the parameter."""
    if not raw:
        return _empty(record)
    kinds = _kinds(record)
    values: dict[str, Any] = {}
    parts = raw.split(b"&", PARAMETERS_MAX)
    if len(parts) > PARAMETERS_MAX:
        raise HttpError(400, f"there are more than {PARAMETERS_MAX} query parameters", "Invalid")
    for part in parts:
        name, equals, text = part.partition(b"=")
        key = _text(name)
        if not part:
            continue
        kind = kinds.get(key)
        if kind is None:
            raise _wrong(key, _unknown(record, kinds))
        if key in values:
            raise _wrong(key, "is given twice: give it once")
        value = _text(text)
        if not equals:
            raise _wrong(key, "has no value: write `name=value`")
        if kind == "list":
            values[key] = [each for each in value.split(",") if each]
        elif kind == "bool":
            if value.lower() not in _TRUTH:
                raise _wrong(key, f"is `{value[:80]}`: write `true` or `false`")
            values[key] = _TRUTH[value.lower()]
        else:
            values[key] = value
    try:
        return msgspec.convert(values, record, strict=False)
    except msgspec.ValidationError as error:
        place = field_error(str(error))
        raise _wrong(place.field, place.message) from None


def _text(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise HttpError(400, "the query is not UTF-8", "Invalid") from None


def _unknown(record: type[Record], kinds: dict[str, str]) -> str:
    if record is NoQuery:
        return "has no meaning here: there are no query parameters"
    return "has no meaning here: known are " + ", ".join(f"`{name}`" for name in kinds)


def _wrong(name: str, message: str) -> HttpError:
    shown = name[:80]
    place = FieldError(field=shown, message=message)
    return HttpError(400, f"query parameter `{shown}`: {message}", "Invalid", errors=(place,))
