from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.postgres_server import Server, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own, because its tests crash it."""
    with running_server() as running:
        yield running
