"""One door for all tests of a file, and a proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workspaces.front import Front, front
from tests.workspaces.rooms import Room, room


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with room(tmp_path_factory.mktemp("room")) as one:
        yield one


@pytest.fixture(scope="module")
def proxy(door: Room) -> Iterator[Front]:
    with front(door.address) as one:
        yield one
