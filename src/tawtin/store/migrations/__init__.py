"""The schema's history: numbered SQL files for each database, each applied once, in order, in a transaction.

A file that was released is never changed; a change of the schema is a new file.
"""

from __future__ import annotations

import re
from importlib.resources import files

import msgspec

from tawtin.ports import JournalError


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the schema."""

    version: int
    """From 1, without gaps."""
    name: str
    sql: str


def load_migrations(dialect: str) -> tuple[Migration, ...]:
    """Return the steps for `sqlite` or `postgres`, in order."""
    steps = [
        Migration(version=int(match[1]), name=match[2], sql=file.read_text(encoding="utf-8"))
        for file in files(__name__).joinpath(dialect).iterdir()
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    ]
    return tuple(sorted(steps, key=lambda step: step.version))


def pending(steps: tuple[Migration, ...], have: int, place: str) -> tuple[Migration, ...]:
    """Return the steps that a database at version `have` lacks. Raises JournalError if it is newer."""
    newest = steps[-1].version
    if have > newest:
        raise JournalError(
            f"`{place}` was written by a newer tawtin (schema {have}, this one knows {newest}); "
            "nothing was changed: run that version or a later one, or restore a backup from before it"
        )
    return tuple(step for step in steps if step.version > have)
