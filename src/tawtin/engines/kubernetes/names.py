"""How things are called in Kubernetes, which takes less than we do: short words of small letters, digits and dashes."""

from __future__ import annotations

import hashlib
import re
from typing import Final

MARK: Final = "tawtin/mark"
"""Label: which factory's engine it belongs to."""
RUN: Final = "tawtin/run"
"""Annotation: the run. As a label, its short form."""
TENANT: Final = "tawtin/tenant"
EPOCH: Final = "tawtin/epoch"
GANG: Final = "tawtin/gang"
NETWORK: Final = "tawtin/network"
_UNFIT: Final = re.compile("[^a-z0-9]+")
_DIGITS: Final = 10


def short(text: str, length: int) -> str:
    """A name for `text` of at most `length`: unlike that of any other, and like enough for a person to know it."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    words = _UNFIT.sub("-", text.lower()).strip("-")
    head = words[: length - _DIGITS - 1].strip("-")
    return f"{head}-{digest}" if head else digest


def job_of(mark: str, run: str) -> str:
    """The name of a run's Job, and so of nothing else: making it again is refused. Pods add a number to it."""
    digest = hashlib.sha256(f"{mark}\0{run}".encode()).hexdigest()[:_DIGITS]
    words = _UNFIT.sub("-", run.lower()).strip("-")
    return f"t-{words[:34].strip('-')}-{digest}"


def namespace_of(prefix: str, tenant: str) -> str:
    """The namespace of a tenant."""
    return f"{prefix}-{short(tenant, 62 - len(prefix))}"
