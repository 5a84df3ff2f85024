"""The base of every record."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A frozen record; equal by value, encoded as JSON without fields that hold their default.

    msgspec does not hand `kw_only` down, and type checkers do not hand `frozen` down: each record says both.
    """
