"""Workspaces as they are shown to whoever opens them."""

from __future__ import annotations

from tawtin.model.base import Record
from tawtin.model.resources import Shape
from tawtin.model.services import Readiness


class WorkspaceView(Record, frozen=True, kw_only=True):
    """A workspace: a program with pages, a home that stays, and where both are now."""

    tenant: str
    name: str
    workload: str
    app: str
    """`jupyterlab`, `code-server`, `shell`; empty for a program of the owner's own."""
    state: Readiness
    since_ms: int
    """Since when it is so."""
    why: str = ""
    """What it waits for, or why its program does not answer."""
    owner: str
    """The id of the key that made it."""
    owner_name: str = ""
    shape: Shape
    """What it has now, or had or gets first."""
    cost_minor_per_hour: int
    """While it does not rest, in minor units of the factory's currency."""
    spent_minor: int = 0
    """What its ended runs cost."""
    idle_ms: int = 0
    """After so long without use it rests; 0 for never."""
    awake_until_ms: int = 0
    """Before this time it does not rest by itself; 0 where nobody asked for that."""
    used_ms: int = 0
    """When it was last used, as far as the factory knows since it started; 0 for not."""
    shared: bool = False
    """Whether everybody of its tenant may look at it."""
    may: str = ""
    """What the caller may do with it: `use`, `look`, or nothing."""
    address: str = ""
    """Where a browser opens it; empty where the factory has no way to it."""
    submitted_ms: int
    version: int = 1


class Opened(Record, frozen=True, kw_only=True):
    """A way into a workspace, for one browser and a short time."""

    url: str
    until_ms: int
    read_only: bool
