"""A look at what is special about a Ray set-up: its token, who else may use it, its version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tawtin.engines.ray.client import Ray, RayDeniedError
from tawtin.engines.ray.settings import RaySettings
from tawtin.engines.shared.cluster import ClusterError
from tawtin.model.findings import Finding, fault, ok, warning

_OLDEST: Final = (2, 9)
"""What the requests that are used have been there since; tokens came later."""
_TRIED: Final = "2.60"


def look(settings: RaySettings, ray: Ray) -> Iterator[Finding]:
    """Everything that its head can tell without a job. Nothing follows a fault."""
    if settings.token_file and not os.access(settings.token_file, os.R_OK):
        mend = "copy the file that RAY_AUTH_TOKEN_PATH names on the head there, or mend `token_file`"
        yield fault("token", f"`{settings.token_file}` is not there, or cannot be read", mend)
        return
    if settings.token_file and Path(settings.token_file).stat().st_mode & 0o077:
        mend = f"chmod 600 {settings.token_file}"
        yield fault("token", f"others can read `{settings.token_file}`, and with it use the cluster", mend)
        return
    try:
        version = ray.version()
        ray.jobs()
    except RayDeniedError as error:
        mend = "put the token there that RAY_AUTH_TOKEN_PATH names on the head"
        yield fault("token", f"{error}", mend)
        return
    except ClusterError as error:
        mend = f"see whether the head is up and `{settings.address}` is its dashboard (port 8265 by default)"
        yield fault("head", f"Ray does not answer: {error}", mend)
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST:
        yield fault("head", f"Ray {version} is older than 2.9", "install a newer Ray")
        return
    yield ok(
        "head", f"Ray {version}" + ("" if version.startswith(_TRIED) else f"; {_TRIED} is what is tested")
    )
    yield _guarded(settings)


def _guarded(settings: RaySettings) -> Finding:
    parts = urlsplit(settings.address)
    if not settings.token_file:
        mend = "start head and nodes with RAY_AUTH_MODE=token, and set `token_file`"
        return warning("token", f"whoever reaches {settings.address} can run anything there", mend)
    if parts.scheme == "http" and not (parts.hostname or "").startswith(
        ("127.", "localhost", "[::1]", "::1")
    ):
        mend = 'put a proxy with TLS before the dashboard, and set address = "https://..."'
        return warning("token", f"the token goes to {settings.address} in the clear", mend)
    return ok("token", "Ray accepts it")
