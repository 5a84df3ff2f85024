"""The deadline of a leased run: granted by the engine, read by the supervisor in time. The standard library alone."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from tawtin.engines.local import orders
from tawtin.engines.shared import durable

GRACE_MS: Final = 1000
"""Between SIGTERM and SIGKILL when a lease is over, whatever the spec says."""
STOP_MS: Final = 10_000
"""In this time after its deadline a run is certainly gone: SIGTERM, the grace, SIGKILL, and the confirmation of it."""


def grant(folder: str, until_ms: int) -> None:
    """Let the run in this folder go on until then, by CLOCK_BOOTTIME. Never shortens; no folder, nothing to do."""
    if os.path.isdir(folder) and granted(folder) < until_ms:
        with contextlib.suppress(OSError):
            value = {"until_ms": until_ms, "boot": durable.boot_id()}
            durable.write_json(os.path.join(folder, orders.FUSE), value, sync=False)


def granted(folder: str) -> int:
    """The latest deadline that was granted in this boot; 0 for none."""
    known = durable.read_json(os.path.join(folder, orders.FUSE))
    if known and known.get("boot") == durable.boot_id():
        return int(known.get("until_ms", 0))
    return 0
