"""What is wrong with a spec: several places at once, each with field, line and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from tawtin.model.views import FieldError

ERRORS_MAX: Final = 20
SHOWN_CHARS_MAX: Final = 80

Marks = Mapping[str, tuple[int, int]]
"""Dotted field -> (line, column) of where it was written, both from 1."""


class SpecError(Exception):
    """The spec was refused. `errors` holds at least one and at most 20 places, in the order of the text."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        """Keep the places; the text of the exception has one line for each."""
        super().__init__("\n".join(one_line(error) for error in errors))
        self.errors = errors


def one_line(error: FieldError) -> str:
    """Return `file:line:column: field: message`, without what is unknown."""
    place = error.file or "<spec>"
    if error.line is not None:
        place += f":{error.line}"
        if error.column is not None:
            place += f":{error.column}"
    return ": ".join(part for part in (place, error.field, error.message) if part)


def placed(errors: tuple[FieldError, ...], file: str, marks: Marks) -> tuple[FieldError, ...]:
    """Return what a factory found wrong with fields, with the places where `marks` knows that they were written."""
    found: list[FieldError] = []
    for error in errors:
        line, column = marks.get(error.field, (error.line, error.column))
        found.append(msgspec.structs.replace(error, line=line, column=column, file=file))
    return tuple(found)


class Problems:
    """Collects what is wrong, and knows from `marks` where each field was written."""

    def __init__(self, file: str, marks: Marks | None = None) -> None:
        """Report under the name `file`."""
        self.file = file
        self.marks: Marks = {} if marks is None else marks
        self.found: list[FieldError] = []

    def add(self, field: str, message: str, place: tuple[int, int] | None = None) -> None:
        """Note that `field` (dotted; empty for the whole spec) is wrong; `place` is (line, column) if known."""
        if self.full or any(error.field == field and error.message == message for error in self.found):
            return
        line, column = place or self._place(field)
        self.found.append(FieldError(message=message, field=field, line=line, column=column, file=self.file))

    @property
    def full(self) -> bool:
        """Whether nothing more is noted."""
        return len(self.found) >= ERRORS_MAX

    def check(self) -> None:
        """Raise SpecError if anything was found."""
        if self.found:
            raise SpecError(tuple(sorted(self.found, key=lambda error: (error.line or 0, error.column or 0))))

    def _place(self, field: str) -> tuple[int | None, int | None]:
        while field:
            if field in self.marks:
                return self.marks[field]
            cut = max(field.rfind("."), field.rfind("["))
            field = field[: max(cut, 0)]
        return self.marks.get("", (None, None))


def shown(text: str) -> str:
    """Return what the user wrote in backticks: one line, printable, not too long."""
    line = "".join(char if char.isprintable() else "?" for char in text[: SHOWN_CHARS_MAX + 1])
    return f"`{line[:SHOWN_CHARS_MAX]}...`" if len(line) > SHOWN_CHARS_MAX else f"`{line}`"
