"""What a field may hold: each kind reads a node of the tree into plain values, and knows its own JSON Schema.

Reading is structural. A mapping is walked key by key, and a key is read, refused with a reason, or unknown: none can be
passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Protocol

from tawtin.spec.errors import Problems, shown
from tawtin.spec.tree import Mapping, Node, Scalar, Sequence

Schema = dict[str, Any]


class Bad:
    """What a kind returns when it has noted a problem."""


BAD: Final = Bad()
MAP_MAX: Final = 1000
LIST_MAX: Final = 10_000

_TRUE: Final = frozenset("true True TRUE yes Yes YES on On ON".split())
_FALSE: Final = frozenset("false False FALSE no No NO off Off OFF".split())
_INTEGER = re.compile(r"[-+]?(?:0|[1-9]\d{0,17})", re.ASCII)


@dataclass(slots=True)
class Reading:
    """One pass over a tree: what was read, where it stood, and what is wrong."""

    problems: Problems
    marks: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    fields: list[str] = field(default_factory=list[str])
    overridden: frozenset[str] = frozenset()
    """Names of envs and secrets whose values come from the command line."""

    def enter(self, path: str, place: tuple[int, int]) -> None:
        """Note that the key or item at `path` is being read."""
        self.marks[path] = place
        self.fields.append(path)

    def bad(self, path: str, message: str) -> Bad:
        """Note a problem."""
        self.problems.add(path, message)
        return BAD


class Kind(Protocol):
    """What a field may hold."""

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return plain values, or BAD after noting the problem."""
        ...

    def schema(self) -> Schema:
        """The JSON Schema (draft 2020-12) of what is accepted."""
        ...


def _is_a(node: Node) -> str:
    if isinstance(node, Mapping):
        return "a mapping"
    return "a list" if isinstance(node, Sequence) else shown(node.text)


@dataclass(frozen=True)
class Text:
    """Text as it was written: `on` stays `on` and `0123` stays `0123`."""

    want: str = "text"
    mapping: str = ""
    """What to say where a mapping stands instead."""
    loose: bool = False
    """Numbers and booleans are commonly written without quotes."""
    pattern: str = ""

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the text."""
        if isinstance(node, Scalar):
            return node.text
        if isinstance(node, Mapping) and self.mapping:
            return reading.bad(path, self.mapping)
        return reading.bad(path, f"this takes {self.want}, not {_is_a(node)}")

    def schema(self) -> Schema:
        """Of text."""
        found: Schema = {"type": ["string", "number", "boolean"] if self.loose else "string"}
        return {**found, "pattern": self.pattern} if self.pattern else found


@dataclass(frozen=True)
class Quantity:
    """A number with or without a unit, kept as text."""

    want: str

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the text."""
        return Text(self.want).read(node, path, reading)

    def schema(self) -> Schema:
        """Of a quantity."""
        return {"type": ["string", "number"]}


@dataclass(frozen=True)
class Integer:
    """A whole number."""

    least: int
    most: int

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the integer."""
        if not (isinstance(node, Scalar) and node.plain and _INTEGER.fullmatch(node.text)):
            why = ""
            if isinstance(node, Scalar) and node.text.isdigit():
                why = "; write it without quotes" if not node.plain else "; write it without leading zeros"
            return reading.bad(path, f"this takes a whole number, not {_is_a(node)}{why}")
        number = int(node.text)
        if not self.least <= number <= self.most:
            return reading.bad(path, f"{shown(node.text)} is outside of {self.least} to {self.most}")
        return number

    def schema(self) -> Schema:
        """Of an integer."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Boolean:
    """True or false; `yes`, `no`, `on`, `off` mean the same, as YAML 1.1 has it."""

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the boolean."""
        if isinstance(node, Scalar) and node.plain:
            if node.text in _TRUE:
                return True
            if node.text in _FALSE:
                return False
        return reading.bad(path, f"this takes `true` or `false`, not {_is_a(node)}")

    def schema(self) -> Schema:
        """Of a boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]
    hints: dict[str, str] = field(default_factory=dict[str, str])

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the word."""
        if isinstance(node, Scalar) and node.text in self.words:
            return node.text
        hint = self.hints.get(node.text, "") if isinstance(node, Scalar) else ""
        known = ", ".join(f"`{word}`" for word in self.words)
        return reading.bad(
            path, f"this takes one of {known}, not {_is_a(node)}" + (f"; {hint}" if hint else "")
        )

    def schema(self) -> Schema:
        """Of the words."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class ListOf:
    """A list; where `single`, one value may stand for a list of one."""

    kind: Kind
    single: bool = False

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the list, without items that were refused."""
        if self.single and isinstance(node, Scalar):
            one = self.kind.read(node, path, reading)
            return BAD if isinstance(one, Bad) else [one]
        if not isinstance(node, Sequence):
            return reading.bad(path, f"this takes a list, not {_is_a(node)}")
        if len(node.items) > LIST_MAX:
            return reading.bad(path, f"this takes at most {LIST_MAX} items")
        found: list[object] = []
        for number, item in enumerate(node.items):
            at = f"{path}[{number}]"
            reading.enter(at, item.place)
            one = self.kind.read(item, at, reading)
            if not isinstance(one, Bad):
                found.append(one)
        return found

    def schema(self) -> Schema:
        """Of a list."""
        many: Schema = {"type": "array", "items": self.kind.schema()}
        return {"anyOf": [self.kind.schema(), many]} if self.single else many


@dataclass(frozen=True)
class MapOf:
    """A mapping with keys of the user's own."""

    kind: Kind
    key: re.Pattern[str] | None = None
    key_want: str = ""
    null: str = ""
    """What to say of a value that is missing; empty if it may be."""

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the mapping, without entries that were refused; a missing value is None."""
        if not isinstance(node, Mapping):
            return reading.bad(path, f"this takes a mapping, not {_is_a(node)}")
        if len(node.entries) > MAP_MAX:
            return reading.bad(path, f"this takes at most {MAP_MAX} entries")
        found: dict[str, object] = {}
        for key, value in node.entries:
            at = f"{path}.{key.text}"
            reading.enter(at, key.place)
            if self.key is not None and not self.key.fullmatch(key.text):
                reading.bad(at, f"{shown(key.text)} is not {self.key_want}")
                continue
            if isinstance(value, Scalar) and value.null:
                if self.null and key.text not in reading.overridden:
                    reading.bad(at, self.null.format(key=key.text))
                else:
                    found[key.text] = None
                continue
            one = self.kind.read(value, at, reading)
            if not isinstance(one, Bad):
                found[key.text] = one
        return found

    def schema(self) -> Schema:
        """Of a mapping."""
        one = self.kind.schema()
        if not self.null or "{key}" in self.null:
            one = {"anyOf": [one, {"type": "null"}]}
        found: Schema = {"type": "object", "additionalProperties": one}
        return {**found, "propertyNames": {"pattern": f"^(?:{self.key.pattern})$"}} if self.key else found


@dataclass(frozen=True)
class Choice:
    """A kind that depends on how the value is written: as text, a list or a mapping."""

    text: Kind | None = None
    many: Kind | None = None
    mapping: Kind | None = None
    turn: Callable[[object], object] = lambda value: value

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return what the kind for this way of writing returns, turned into one form."""
        kind = self.text
        if not isinstance(node, Scalar):
            kind = self.mapping if isinstance(node, Mapping) else self.many
        if kind is None:
            ways = (("a value", self.text), ("a list", self.many), ("a mapping", self.mapping))
            want = " or ".join(name for name, one in ways if one is not None)
            return reading.bad(path, f"this takes {want}, not {_is_a(node)}")
        found = kind.read(node, path, reading)
        return BAD if isinstance(found, Bad) else self.turn(found)

    def schema(self) -> Schema:
        """Of any of the ways."""
        return {"anyOf": [kind.schema() for kind in (self.text, self.many, self.mapping) if kind is not None]}


@dataclass(frozen=True)
class Field:
    """A field of a mapping with fixed keys."""

    kind: Kind
    doc: str
    into: str = ""
    """The name under which it is read, where that differs; two fields may not be given for one."""
    hidden: bool = False
    """An older name, not shown to editors."""


@dataclass(frozen=True)
class Fields:
    """A mapping with fixed keys."""

    fields: dict[str, Field]
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Key -> why it has no meaning here, and what to do instead."""
    required: tuple[str, ...] = ()

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the mapping, without fields that were refused."""
        if not isinstance(node, Mapping):
            return reading.bad(path, f"this takes a mapping of fields, not {_is_a(node)}")
        found: dict[str, object] = {}
        for key, value in node.entries:
            at = f"{path}.{key.text}" if path else key.text
            reading.enter(at, key.place)
            known = self.fields.get(key.text)
            if known is None:
                if reading.problems.full:
                    break  # looking for names that are near takes time
                reading.bad(at, self._unknown(key.text))
                continue
            if isinstance(value, Scalar) and value.null:
                continue
            one = known.kind.read(value, at, reading)
            if isinstance(one, Bad):
                continue
            name = known.into or key.text
            if name in found:
                reading.bad(
                    at, f"{shown(key.text)} says the same as `{name}`, which is given as well; remove one"
                )
            found[name] = one
        missing = [name for name in self.required if name not in found]
        for name in missing:
            reading.bad(f"{path}.{name}" if path else name, f"`{name}` is missing")
        return BAD if missing else found

    def _unknown(self, key: str) -> str:
        if key in self.refused:
            return f"{shown(key)} has no meaning here: {self.refused[key]}"
        near = get_close_matches(
            key[:64], [name for name, each in self.fields.items() if not each.hidden], n=1
        )
        known = (
            f"did you mean `{near[0]}`?"
            if near
            else "remove it; `docs/reference/spec.md` lists what there is"
        )
        return f"there is no field {shown(key)}; {known}"

    def schema(self) -> Schema:
        """Of the mapping. A field without a value counts as not given."""
        properties: Schema = {}
        for name, each in self.fields.items():
            if each.hidden:
                properties[name] = {"anyOf": [each.kind.schema(), {"type": "null"}], "deprecated": True}
            else:
                properties[name] = {"description": each.doc, "anyOf": [each.kind.schema(), {"type": "null"}]}
        found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**found, "required": list(self.required)} if self.required else found
