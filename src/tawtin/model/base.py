"""The base of every record."""

from __future__ import annotations

import msgspec


class Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """A frozen record; equal by value, encoded as JSON without fields that hold their default.

    Records hold no cycles, so the garbage collector need not know them: with 100,000 of them in memory, looking
    through them all would take it a second each time.

    msgspec does not hand `kw_only` down, and type checkers do not hand `frozen` down: each record says both.
    """
