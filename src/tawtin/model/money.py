"""Money: integer minor units of an ISO 4217 currency."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record

Minor = Annotated[int, msgspec.Meta(ge=0)]


class Rate(Record, frozen=True, kw_only=True):
    """What a run costs by the hour, in minor units. GPUs are charged by model, all else by processor."""

    currency: str = "MAD"
    minor_per_gpu_hour: Minor = 0
    minor_per_cpu_hour: Minor = 0
