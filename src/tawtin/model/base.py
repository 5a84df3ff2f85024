"""The base of every record."""

from __future__ import annotations

from functools import cache
from typing import Final, TypeVar, cast

import msgspec


class Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """A frozen record; equal by value, encoded as JSON without fields that hold their default.

    Records hold no cycles, so the garbage collector need not know them: with 100,000 of them in memory, looking
    through them all would take it a second each time.

    msgspec does not hand `kw_only` down, and type checkers do not hand `frozen` down: each record says both.
    """


R = TypeVar("R", bound=Record)
_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def canonical(record: Record) -> bytes:
    """The canonical JSON of a record, for digests and signatures: keys sorted, no white space, no defaults.

    Equal records have equal bytes, in every process. The encoder alone leaves out what IS the default, not what equals
    it.
    """
    return _sorted(_without_defaults(record))


def as_canonical(record: R) -> R:
    """An equal record that crosses without defaults, so that its reader has to sort the keys and no more."""
    return msgspec.json.decode(canonical(record), type=type(record))


@cache
def _fields(kind: type[Record]) -> tuple[tuple[str, str, object], ...]:
    """Name, name in JSON, and default of each field."""
    return tuple((each.name, each.encode_name, _default_of(each)) for each in msgspec.structs.fields(kind))


def _default_of(field: msgspec.structs.FieldInfo) -> object:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def _without_defaults(value: object) -> object:
    if isinstance(value, Record):
        held = [(key, getattr(value, name), default) for name, key, default in _fields(type(value))]
        return {key: _without_defaults(part) for key, part, default in held if part != default}
    if isinstance(value, tuple):
        return [_without_defaults(part) for part in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        return {key: _without_defaults(part) for key, part in cast("dict[str, object]", value).items()}
    return value
