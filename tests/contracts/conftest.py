from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tawtin.ports import Journal
from tests.store.journals import Place, sqlite_place
from tests.store.postgres_server import Server, running_server

DURABLE = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
JOURNALS = (*DURABLE, "memory")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(params=JOURNALS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    name = str(request.param)
    if name == "sqlite":
        found = sqlite_place(tmp_path)
    elif name == "memory":
        found = Place(name, "memory:")
    else:
        running: Server = request.getfixturevalue("server")
        # libpq's URL form, as a user would write it
        dsn = running.new_schema()
        schema = dsn.rpartition("search_path=")[2].strip("'")
        found = Place(
            name, f"postgresql://test@/postgres?host={running.folder}&options=-csearch_path%3D{schema}"
        )
    yield found
    found.close()


@pytest.fixture
def journal(place: Place) -> Journal:
    return place.open()
