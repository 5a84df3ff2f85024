"""One factory for the tests of a module; each test makes tenants of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.harness import Factory, running


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with running(tmp_path_factory.mktemp("factory")) as one:
        yield one
