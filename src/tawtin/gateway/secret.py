"""A secret of this factory alone, kept in a file."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_BYTES: Final = 32


def open_secret(path: Path) -> bytes:
    """The 32 bytes kept at `path`, made where there are none yet. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        held = path.read_bytes()
        if len(held) == _BYTES:
            return held
    made = os.urandom(_BYTES)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    return made
