"""What an operator can set about a Ray engine."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from tawtin.engines.shared.settings import ClusterSettings


class RaySettings(ClusterSettings, frozen=True, kw_only=True):
    """Settings of a Ray engine."""

    address: Annotated[str, msgspec.Meta(pattern="^https?://[^/?#@]+/?$")] = "http://127.0.0.1:8265"
    """Where the head's dashboard, and with it the Jobs API, answers; `https://` if a proxy before it speaks TLS."""
    token_file: str = ""
    """Path of a file with the cluster's token (`RAY_AUTH_MODE=token`), read again at each call, so that it can be
    replaced; empty for a cluster without one."""
    ca_file: str = ""
    """Path of the certificates by which an `https://` address is checked; empty for those that the system trusts."""
    python: str = "python"
    """The Python that has Ray, as the nodes find it; runs of several nodes need it."""
    runtime_env: dict[str, Any] = {}
    """Ray's runtime environment of all jobs, as Ray documents it: `{ pip = ["torch"] }`."""
