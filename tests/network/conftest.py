"""Two real factories that know each other: Casablanca without GPUs, and Nairobi with declared ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Home


def raised(folder: Path, name: str, country: str, *words: str) -> Home:
    home = Home(folder)
    told = home.tawtin(
        "init",
        "--name",
        name,
        "--country",
        country,
        "--currency",
        "MAD",
        "--port",
        "0",
        "--gpu-hour",
        "3600",
        *words,
    )
    assert told.code == 0, told.err
    settings = folder / "factory.toml"
    settings.write_text(settings.read_text().replace("[factory]\n", "[factory]\ncarbon_g_per_kwh = 63\n", 1))
    home.up()
    return home


def url(home: Home) -> str:
    return json.loads((home.folder / "data" / "address.json").read_text())["url"]


def introduce(here: Home, there: Home) -> None:
    """Let the operator of `here` enter what the other one reads out."""
    me = there.tawtin("peer", "me", "--json").json
    told = here.tawtin(
        "peer", "add", me["name"], "--address", url(there), "--key", me["key"], "--country", me["country"],
        "--lend", "H100:4", "--lend-cpus", "16",
    )  # fmt: skip
    assert told.code == 0, told.err


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    base = tmp_path_factory.mktemp("network")
    casa = raised(base / "casa", "Casablanca", "MA")
    nairobi = raised(base / "nairobi", "Nairobi", "KE", "--declare-gpus", "H100:4")
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    yield casa, nairobi
    casa.end()
    nairobi.end()
