"""Untrusted YAML becomes a small tree of text with places, before anything is interpreted.

Nothing is resolved here: `on`, `0123` and `NO` stay what was written, and each field decides what it wants. Size,
depth, aliases and number of nodes are limited while events stream in, so that a bomb costs no more than its own bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import yaml

from tawtin.model.views import FieldError
from tawtin.spec.errors import SpecError, shown

BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 32
NODES_MAX: Final = 50_000
"""Counted as if every alias had been written out."""

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TAG_TEXT: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "<<"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A piece of text. `plain` says that it had no quotes, so that it may mean a number, a boolean or nothing."""

    text: str
    plain: bool
    place: tuple[int, int]

    @property
    def null(self) -> bool:
        """Whether it means that nothing was given."""
        return self.plain and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    place: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in the order of the text; no key twice."""

    entries: tuple[tuple[Scalar, Node], ...]
    place: tuple[int, int]


Node = Scalar | Sequence | Mapping


def decode(text: str | bytes, file: str) -> str:
    """Return `text` as a string without byte order mark. Raises SpecError if it is too large or no UTF-8."""
    size = len(text)
    if isinstance(text, str):
        size = len(text.encode("utf-8", "surrogatepass")) if size <= BYTES_MAX else size
    if size > BYTES_MAX:
        _refuse(
            file,
            f"a spec has at most {BYTES_MAX} bytes; put data and programs into `workdir` or `file_mounts`",
        )
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
            _refuse(file, "a spec is UTF-8 text; save the file with that encoding", (line, 1))
    return text.removeprefix("\ufeff")


def parse(text: str, file: str) -> Node | None:
    """Return the tree of the one document in `text`, or None if it is empty. Raises SpecError."""
    try:
        return _Builder(file).build(_events(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else None
        what = ", ".join(part for part in (error.context, error.problem) if part)
        _refuse(file, f"this is no YAML: {what.lower()}", place)
    except yaml.reader.ReaderError as error:
        _refuse(file, f"this is no YAML: {str(error.reason).lower()}", _place_of(text, error.position))
    except (UnicodeEncodeError, ValueError):
        _refuse(file, "this is no YAML: it holds characters that are no text; save the file as UTF-8")


def _events(text: str) -> Iterator[yaml.Event]:
    loader = cast("Any", getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the C parser where PyYAML has it
    return yaml.parse(text, Loader=loader)


def _place_of(text: str, position: object) -> tuple[int, int] | None:
    if not isinstance(position, int):
        return None
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _refuse(file: str, message: str, place: tuple[int, int] | None = None) -> NoReturn:
    line, column = place or (None, None)
    raise SpecError((FieldError(message=message, line=line, column=column, file=file),))


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    children: list[Node]
    mapping: bool
    place: tuple[int, int]
    anchor: str | None
    nodes_before: int


class _Builder:
    """Turns events into a tree, and stops at the first sign of a bomb."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.nodes = 0
        self.root: Node | None = None
        self.documents = 0

    def build(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            place = _place(event)
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    _refuse(
                        self.file,
                        "a second document starts here; pipelines and job groups are not run: submit one file for each",
                        place,
                    )
            elif isinstance(event, yaml.AliasEvent):
                self._alias(cast("str", event.anchor), place)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, place)
            elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                self._start(event, place)
            elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                self._end()
        return self.root

    def _count(self, nodes: int, place: tuple[int, int]) -> None:
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            _refuse(
                self.file, f"a spec has at most {NODES_MAX} values, aliases written out; shorten it", place
            )

    def _alias(self, anchor: str, place: tuple[int, int]) -> None:
        if anchor not in self.anchors:
            _refuse(
                self.file, f"the alias {shown('*' + anchor)} is used inside or before what it names", place
            )
        node, nodes = self.anchors[anchor]
        self._count(nodes, place)
        self._put(node)

    def _scalar(self, event: yaml.ScalarEvent, place: tuple[int, int]) -> None:
        tag = self._tag(event.tag, place)
        self._count(1, place)
        node = Scalar(event.value, not event.style and tag is None, place)  # '' or None: no quotes
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, 1)
        self._put(node)

    def _start(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent, place: tuple[int, int]) -> None:
        if self._tag(event.tag, place) is not None:
            _refuse(self.file, "a list or mapping cannot be text; remove the tag", place)
        if len(self.open) >= DEPTH_MAX:
            _refuse(self.file, f"a spec nests at most {DEPTH_MAX} levels deep", place)
        self._count(1, place)
        mapping = isinstance(event, yaml.MappingStartEvent)
        self.open.append(_Open([], mapping, place, event.anchor, self.nodes))

    def _end(self) -> None:
        done = self.open.pop()
        children = tuple(done.children)
        node = self._mapping(children, done.place) if done.mapping else Sequence(children, done.place)
        if done.anchor is not None:
            self.anchors[done.anchor] = (node, self.nodes - done.nodes_before + 1)
        self._put(node)

    def _put(self, node: Node) -> None:
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.root = node

    def _tag(self, tag: object, place: tuple[int, int]) -> str | None:
        if tag is None or tag == "!":
            return None
        if tag == _TAG_TEXT:
            return _TAG_TEXT
        _refuse(self.file, f"the tag {shown(str(tag))} is not allowed; write plain values", place)

    def _mapping(self, children: tuple[Node, ...], place: tuple[int, int]) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Node] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                _refuse(self.file, "a key is text, not a list or mapping; put it into quotes", key.place)
            if key.text in entries or (merged and key.text == _MERGE):
                _refuse(self.file, f"the key {shown(key.text)} is given twice; remove one", key.place)
            if key.plain and key.text == _MERGE:
                merged.extend(value.items if isinstance(value, Sequence) else (value,))
            else:
                entries[key.text] = (key, value)
        for source in merged:
            if not isinstance(source, Mapping):
                _refuse(self.file, "`<<` takes a mapping, or a list of mappings", source.place)
            for key, value in source.entries:
                entries.setdefault(key.text, (key, value))
        return Mapping(tuple(entries.values()), place)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
