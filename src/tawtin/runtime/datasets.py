"""What is said to a tenant that reads datasets which it does not have. Those of others look absent."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from tawtin.model.reasons import Refusal
from tawtin.model.views import FieldError
from tawtin.runtime.errors import Refused

NEAR_MAX: Final = 3


def no_such_datasets(
    tenant: str, wanted: tuple[str, ...], places: tuple[int, ...], held: Iterable[str]
) -> Refused:
    """Return the refusal of `wanted[place]` for all `places`, with those of `held` that are called much the same."""
    errors: list[FieldError] = []
    names = sorted(held)
    for place in places:
        near = get_close_matches(wanted[place], names, n=NEAR_MAX)
        mend = (
            f"did you mean {' or '.join(f'`{each}`' for each in near)}?"
            if near
            else "`tawtin data ls` lists what there is, and `tawtin data put` adds to it"
        )
        message = f"tenant `{tenant}` has no dataset `{wanted[place]}` here; {mend}"
        errors.append(FieldError(field=f"data.datasets[{place}]", message=message))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Refused(f"{errors[0].message}{more}", Refusal.UNKNOWN_DATASET, tuple(errors))
