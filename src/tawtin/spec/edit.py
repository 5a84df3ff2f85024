"""Single fields of a spec's YAML text: read, and changed in place, so that comments and the rest stay as written.

The text is composed into nodes, whose marks say where each value stands; only what is between them is written anew.
What comes out is composed again, and refused if it does not say what was asked for and otherwise the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

import yaml

from tawtin.model.base import Record

Path = tuple[str, ...]
_TEXT_TAGS: Final = frozenset({"tag:yaml.org,2002:str"})
_PLAIN_TAGS: Final = frozenset({*_TEXT_TAGS, "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_STEP: Final = 2
_BYTES_MAX: Final = 1 << 20


class EditError(Exception):
    """The text cannot be changed there; the message says why and what to do."""


class Field(Record, frozen=True, kw_only=True):
    """One field of a form."""

    name: str
    path: Path
    """Where it stands in the spec."""
    kind: str = "plain"
    """plain (a number or a word), text, lines or list (words with commas between)."""


FIELDS: Final = (
    Field(name="name", path=("name",), kind="text"),
    Field(name="run", path=("run",), kind="lines"),
    Field(name="cpus", path=("resources", "cpus")),
    Field(name="memory", path=("resources", "memory")),
    Field(name="accelerators", path=("resources", "accelerators")),
    Field(name="class", path=("data", "class")),
    Field(name="origin", path=("data", "origin"), kind="text"),
    Field(name="duration", path=("max_duration",)),
    Field(name="countries", path=("residency", "allow"), kind="list"),
)


class _Place(NamedTuple):
    """Where a key of a mapping is, and its value."""

    parent: yaml.MappingNode
    key: yaml.ScalarNode
    value: yaml.Node


def read_fields(text: str) -> dict[str, str | None] | None:
    """The value of each of `FIELDS`: empty where it is not given, None where it is in a form that has no field.

    None for all where the text is no mapping in YAML.
    """
    try:
        root = _compose(text)
    except EditError:
        return None
    return {field.name: _said(field, _find(root, field.path)) for field in FIELDS}


def write_fields(text: str, changes: Mapping[str, str]) -> str:
    """The text with these fields (name -> value; empty removes) and no other difference. Raises EditError."""
    for field in FIELDS:
        if field.name in changes:
            text = _write(text, field, changes[field.name].replace("\r\n", "\n").strip("\n"))
    return text


def _write(text: str, field: Field, value: str) -> str:
    before = read_fields(text)
    if before is None:
        raise EditError("the YAML cannot be read: mend it, then use the form")
    value = _tidy(field, value)
    if before[field.name] == value:
        return text
    after = _put(text, field, value) if value else _drop(text, field)
    if read_fields(after) != {**before, field.name: value}:
        raise EditError(f"`{'.'.join(field.path)}` cannot be changed from the form: change it in the YAML")
    return after


def _tidy(field: Field, value: str) -> str:
    if field.kind == "lines":
        return value if value.strip() else ""
    words = " ".join(value.split())
    if field.kind == "list":
        return ", ".join(part.strip() for part in words.split(",") if part.strip())
    return words


def _compose(text: str) -> yaml.MappingNode | None:
    """The document; None for an empty one. Raises EditError."""
    if len(text) > _BYTES_MAX:
        raise EditError("the text is too long for the form")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise EditError("the YAML cannot be read") from error
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode):
        raise EditError("the YAML is no mapping")
    return root


def _find(root: yaml.MappingNode | None, path: Path) -> _Place | None:
    here: yaml.Node | None = root
    place: _Place | None = None
    for name in path:
        if not isinstance(here, yaml.MappingNode):
            return None
        found = [
            pair for pair in here.value if isinstance(pair[0], yaml.ScalarNode) and pair[0].value == name
        ]
        if not found:
            return None
        place = _Place(here, *found[-1])
        here = place.value
    return place


def _said(field: Field, place: _Place | None) -> str | None:
    if place is None:
        return ""
    node = place.value
    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:null":
            return ""
        return node.value.rstrip("\n") if field.kind == "lines" else " ".join(node.value.split())
    if field.kind == "list" and isinstance(node, yaml.SequenceNode):
        items = [each.value for each in node.value if isinstance(each, yaml.ScalarNode)]
        return ", ".join(items) if len(items) == len(node.value) else None
    return None


def _put(text: str, field: Field, value: str) -> str:
    root = _compose(text)
    place = _find(root, field.path)
    if place is None:
        return _add(text, root, field, value)
    indent = place.key.start_mark.column
    old = place.value
    block = isinstance(old, yaml.ScalarNode) and old.style in {"|", ">"}
    flow = bool(place.parent.flow_style)
    written = _written(field, value, indent, block=block and not flow, flow=flow)
    end = _end(text, old)
    start = old.start_mark.index
    if old.start_mark.line != place.key.end_mark.line or start == old.end_mark.index:
        start = (
            text.index(":", place.key.end_mark.index) + 1
        )  # it begins on a line of its own, or is not there
        end, written = max(start, end), f" {written}"
    return text[:start] + written + text[end:]


def _add(text: str, root: yaml.MappingNode | None, field: Field, value: str) -> str:
    """Put a key that is not there yet behind the last one of its mapping."""
    if root is None or not root.value:
        if root is not None:
            raise EditError("the YAML is `{}`: empty it, then use the form")
        head = text.rstrip()
        return (f"{head}\n" if head else "") + _lines(field, field.path, value, 0)
    if len(field.path) == 1:
        return _behind(text, root, field, field.path, value)
    above = _find(root, field.path[:1])
    if above is None:
        return _behind(text, root, field, field.path, value)
    if isinstance(above.value, yaml.MappingNode) and above.value.value:
        return _behind(text, above.value, field, field.path[1:], value)
    if isinstance(above.value, yaml.ScalarNode) and above.value.value == "" and not above.parent.flow_style:
        colon = text.index(":", above.key.end_mark.index) + 1
        indent = above.key.start_mark.column + _STEP
        return _after_line(text, colon, _lines(field, field.path[1:], value, indent))
    raise EditError(f"`{field.path[0]}` is in a form that has no fields: change it in the YAML")


def _behind(text: str, mapping: yaml.MappingNode, field: Field, path: Path, value: str) -> str:
    last = mapping.value[-1]
    end = _end(text, last[1])
    if mapping.flow_style:
        name, *below = path
        if below:
            raise EditError(f"`{name}` cannot be added from the form: add it in the YAML")
        return f"{text[:end]}, {name}: {_written(field, value, 0, block=False, flow=True)}{text[end:]}"
    indent = mapping.value[0][0].start_mark.column
    return _after_line(text, max(end, last[0].end_mark.index), _lines(field, path, value, indent))


def _after_line(text: str, at: int, lines: str) -> str:
    """Put lines behind the line in which `at` is, with whatever comment it has."""
    end = text.find("\n", at)
    if end < 0:
        return f"{text}\n{lines}"
    return text[: end + 1] + lines + text[end + 1 :]


def _lines(field: Field, path: Path, value: str, indent: int) -> str:
    lead = "".join(f"{' ' * (indent + _STEP * depth)}{name}:\n" for depth, name in enumerate(path[:-1]))
    indent += _STEP * (len(path) - 1)
    return f"{lead}{' ' * indent}{path[-1]}: {_written(field, value, indent, block=False, flow=False)}\n"


def _drop(text: str, field: Field) -> str:
    place = _find(_compose(text), field.path)
    if place is None:
        return text
    end = _end(text, place.value)
    if place.parent.flow_style:
        return f"{text[: place.value.start_mark.index]}null{text[end:]}"
    start = text.rfind("\n", 0, place.key.start_mark.index) + 1
    following = text.find("\n", max(end, place.key.end_mark.index))
    if text[start : place.key.start_mark.index].strip():
        raise EditError(f"`{field.path[-1]}` cannot be removed from the form: remove it in the YAML")
    return text[:start] + (text[following + 1 :] if following >= 0 else "")


def _end(text: str, node: yaml.Node) -> int:
    """Where a value ends: the marks of what is in blocks are behind the empty lines and comments that follow."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(text, node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(text, node.value[-1])
    start, end = node.start_mark.index, node.end_mark.index
    return start + len(text[start:end].rstrip())


def _written(field: Field, value: str, indent: int, *, block: bool, flow: bool) -> str:
    if field.kind == "list":
        return f"[{', '.join(_scalar(each, _TEXT_TAGS) for each in value.split(', '))}]"
    if field.kind == "lines" and not flow and (block or "\n" in value) and _is_printable(value):
        lead = " " * (indent + _STEP)
        sign = f"|{_STEP}" if value[:1].isspace() else "|"
        return sign + "".join(f"\n{lead}{line}" if line else "\n" for line in value.split("\n"))
    return _scalar(value, _PLAIN_TAGS if field.kind == "plain" else _TEXT_TAGS)


def _is_printable(value: str) -> bool:
    return all(each.isprintable() or each in "\n\t" for each in value)


def _scalar(value: str, tags: frozenset[str]) -> str:
    """A value as it stands if YAML reads it so wherever it is, else in quotes."""
    plain = False
    try:
        node = yaml.compose(f"[{value}]", Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        node = None
    if isinstance(node, yaml.SequenceNode) and len(node.value) == 1:
        one = node.value[0]
        plain = (
            isinstance(one, yaml.ScalarNode) and one.style is None and one.tag in tags and one.value == value
        )
    return value if plain and ": " not in value else json.dumps(value, ensure_ascii=False)
