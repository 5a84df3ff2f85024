from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.rig import Rig, rig


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Rig]:
    """An engine with the sandbox of this machine."""
    with rig(tmp_path) as made:
        yield made
