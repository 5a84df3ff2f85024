"""Two real factories tell each other how much runs at home, and count nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home
from tests.network.conftest import url
from tests.network.test_two_factories import Pair, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]


def network(home: Home, *words: str) -> Any:  # noqa: ANN401 - JSON
    told = home.tawtin("localisation", "--by", "network", "--json", *words)
    assert told.code == 0, told.err
    return told.json


def runs(found: Any) -> dict[str, dict[str, int]]:  # noqa: ANN401 - JSON
    """Runs of each factory by ring; of all together under an empty name."""
    return {
        row.get("factory", ""): {
            ring: row["runs"][ring] for ring in ("home", "continent", "outside") if ring in row["runs"]
        }
        for row in found["items"]
    }


def ran(home: Home, *words: str) -> None:
    told = home.tawtin("run", "-y", *words)
    assert told.code == 0, told.err


def test_each_sees_its_own_and_the_others_word_and_a_roamed_run_counts_once(pair: Pair, tmp_path: Path):
    casa, nairobi = pair
    assert [row["factory"] for row in network(casa)["peers"]] == ["Nairobi"]
    work = tmp_path / "work"
    work.mkdir()
    (work / "in").write_bytes(b"x" * 1000)
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"name: away\nresources:\n  accelerators: H100:1\nworkdir: {work}\n"
        "outputs:\n  made: out\nrun: mkdir out && head -c 24 in > out/made\n"
    )
    ran(casa, str(spec))
    ran(casa, "--cpus", "1", "--", "true")
    ran(nairobi, "--gpus", "H100:1", "--", "true")
    want = {
        "Casablanca": {"home": 1, "continent": 1},
        "Nairobi": {"home": 1},
        "": {"home": 2, "continent": 1},
    }
    for home in pair:
        until(lambda home=home: runs(network(home)) == want, 20)
    found = network(casa)
    ours, theirs, whole = found["items"]
    assert ours["bytes"]["continent"] == 1024, "the working folder and the output, where the run was"
    assert "said_by" not in ours
    assert "heard_ms" not in ours
    assert theirs["said_by"] == whole["said_by"] == ["Nairobi"]
    assert theirs["heard_ms"] == found["peers"][0]["heard_ms"]
    seen = network(nairobi)
    assert [(row.get("factory"), row.get("said_by", [])) for row in seen["items"]] == [
        ("Nairobi", []),
        ("Casablanca", ["Casablanca"]),
        (None, ["Casablanca"]),
    ]
    assert "owner" not in str(seen)
    assert "peer-casablanca" not in nairobi.tawtin("localisation", "--json").out
    assert "peer-casablanca" in nairobi.tawtin("usage", "--json").out
    assert not network(casa, "--until", "2020-01")["items"]


def test_the_table_says_whose_word_it_is_and_how_old(pair: Pair):
    casa, _ = pair
    until(lambda: len(network(casa)["items"]) == 3, 20)
    told = casa.tawtin("localisation", "--by", "network")
    assert told.code == 0, told.err
    header, *lines = told.out.splitlines()
    assert header.split() == "FACTORY MONTH OF USED AT HOME ON THE CONTINENT OUTSIDE SAID BY".split()
    assert any(line.startswith("Casablanca") and line.endswith("this factory counted it") for line in lines)
    assert any(line.startswith("Nairobi") and line.endswith(" ago") for line in lines)
    assert any(line.startswith("(all)") and "this factory and 1 of its peers" in line for line in lines)
    assert lines[-1] == "what a peer says of itself is its word alone: nobody has checked it"
    for by, want in (("country", "MA "), ("factory", "Casablanca "), ("tenant", "owner ")):
        first = casa.tawtin("localisation", "--by", by).out.splitlines()
        assert first[0].startswith(by.upper())
        assert first[1].startswith(want)


def test_a_peer_that_is_told_no_more_has_an_old_word_and_after_a_restart_none(pair: Pair):
    casa, nairobi = pair
    until(lambda: network(casa)["peers"][0].get("age_ms") is not None, 20)
    told = nairobi.tawtin("peer", "set", "Casablanca", "--tell-localisation", "no")
    assert told.code == 0, told.err
    until(lambda: network(casa)["peers"][0]["age_ms"] > 6_000, 30)
    assert "Nairobi" in runs(network(casa)), "an old word is shown with its age"
    again = nairobi.tawtin("peer", "set", "Casablanca", "--lend", "H100:4")
    assert again.code == 0, again.err
    casa.end()
    casa.up()
    told = nairobi.tawtin("peer", "set", "Casablanca", "--address", url(casa))
    assert told.code == 0, told.err
    found = network(casa)
    assert [row.get("age_ms") for row in found["peers"]] == [None]
    assert set(runs(found)) == {"Casablanca", ""}
    assert "Nairobi (KE) tells nothing" in casa.tawtin("localisation", "--by", "network").out


def test_months_and_views_that_make_no_sense_are_explained(pair: Pair):
    casa, _ = pair
    for words, want in (
        (("--since", "lately"), "--since: `lately` is no month"),
        (("--until", "2026-13"), "--until: `2026-13` is no month"),
        (("--by", "planet"), "invalid choice: `planet`"),
    ):
        told = casa.tawtin("localisation", *words)
        assert told.code == exits.USAGE
        assert want in told.err
    told = casa.tawtin("localisation", "--since", "2026-11", "--until", "2026-10")
    assert told.code != 0
    assert "exchange them" in told.err
