"""What a look at a set-up found: all is well, or what is wrong and how to mend it."""

from __future__ import annotations

from typing import Literal

from tawtin.model.base import Record


class Finding(Record, frozen=True, kw_only=True):
    """What one check found."""

    name: str
    state: Literal["ok", "warning", "fault"]
    """`warning`: it works, but something is lost; `fault`: it does not work."""
    found: str
    mend: str = ""
    """What to do about it; empty where all is well."""


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name=name, state="ok", found=found)


def warning(name: str, found: str, mend: str) -> Finding:
    """It works, but something is lost."""
    return Finding(name=name, state="warning", found=found, mend=mend)


def fault(name: str, found: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(name=name, state="fault", found=found, mend=mend)
