"""What a factory says of its own localisation rate: sums by calendar month, and nothing of whom they are.

It crosses with the offer. Whoever hears it has only the word of the factory for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from tawtin.model.base import Record

VERSION: Final = 1
"""Of what is told; words of another version are not taken in."""
MONTHS_MAX: Final = 3
"""So many months are told: this one and those just before it."""
AMOUNT_MAX: Final = 1 << 53
"""Larger sums are told as this."""

Amount = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]
Month = Annotated[str, msgspec.Meta(max_length=7, pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
"""`YYYY-MM`, UTC."""


class By(StrEnum):
    """Whose rate is asked for."""

    TENANT = "tenant"
    FACTORY = "factory"
    COUNTRY = "country"
    """The tenants of this factory by the country that is their home."""
    NETWORK = "network"
    """This factory, and what each peer says of itself."""


class Rings(Record, frozen=True, kw_only=True):
    """How much of one resource was used at home, elsewhere on the continent, and outside of it."""

    home: Amount = 0
    continent: Amount = 0
    outside: Amount = 0


class MonthTold(Record, frozen=True, kw_only=True):
    """What the tenants of a factory used in one calendar month, wherever it was."""

    month: Month
    gpu_ms: Rings = Rings()
    cpu_ms: Rings = Rings()
    bytes: Rings = Rings()
    """In and out of runs."""
    runs: Rings = Rings()
    tokens: Rings = Rings()
    """Of requests for models and their answers, by where they were answered."""
    requests: Rings = Rings()
    """For models."""


class Told(Record, frozen=True, kw_only=True):
    """What a factory tells its peers. Months in which nothing was used are left out."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)] = VERSION
    months: Annotated[tuple[MonthTold, ...], msgspec.Meta(max_length=MONTHS_MAX)] = ()


class Heard(Record, frozen=True, kw_only=True):
    """The last word of a peer about itself that was taken in."""

    told: Told
    heard_ms: int
    """By our clock."""
