"""What an operator can set about the console."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.web.console.oidc.settings import OidcSettings

_Degrees = Annotated[float, msgspec.Meta(ge=-180, le=180)]


class ConsoleSettings(Record, frozen=True, kw_only=True):
    """`[console]`: the pages."""

    enabled: bool = True
    """Whether there are pages at the address of the API. They need the extra `console`."""
    session_hours: Annotated[int, msgspec.Meta(ge=1, le=8760)] = 12
    """How long a sign-in counts."""
    live_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    """An open page learns at most this often that something changed."""
    oidc: OidcSettings = OidcSettings()
    """Sign-in by OpenID Connect, as `[console.oidc]`."""
    places: dict[str, tuple[_Degrees, _Degrees]] = {}
    """Where factories are on the map: latitude and longitude by name; others are drawn at their country's capital."""
