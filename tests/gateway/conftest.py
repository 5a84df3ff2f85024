"""One replica for each module of tests, and a key of the module's own `gateway`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.harness import Running
from tests.gateway.stub import Stub


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with Stub() as one:
        yield one


@pytest.fixture(scope="module")
def key(gateway: Running) -> str:
    return gateway.key()
