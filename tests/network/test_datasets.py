"""Datasets between two real factories: public ones go with the work, personal ones stay, whatever the spec says."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Home
from tests.network.test_files import crossings, spec_of
from tests.network.test_two_factories import Pair, first_of, shown, status, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]


def put(home: Home, folder: Path, name: str, data: bytes, *law: str) -> str:
    (folder / name).mkdir()
    (folder / name / "data.bin").write_bytes(data)
    told = home.tawtin("data", "put", name, str(folder / name), *law, "--json")
    assert told.code == 0, told.err
    return str(told.json["id"])


def test_a_public_dataset_is_pulled_by_the_visited_factory_and_its_crossing_is_recorded_by_both(
    pair: Pair, tmp_path: Path
):
    casa, nairobi = pair
    rows = os.urandom(1_200_000)
    artifact = put(casa, tmp_path, "rows", rows, "--class", "public")
    spec = spec_of(
        tmp_path, "sha256sum < $TAWTIN_DATASETS/rows/data.bin; touch $TAWTIN_DATASETS/rows/new || echo kept",
        data={"datasets": ["rows"]},
    )  # fmt: skip
    planned = casa.tawtin("run", "--dry-run", "--json", str(spec)).json["plan"]
    assert {each["factory"]: each.get("transfer_bytes", 0) for each in planned["places"]} == {
        "Casablanca": 0,
        "Nairobi": len(rows),
    }
    told = casa.tawtin("run", "-y", "--json", "--detach", str(spec))
    assert told.code == 0, told.err
    workload = first_of(told)
    until(lambda: status(casa, workload) in {"succeeded", "failed"})
    view = shown(casa, workload)
    log = casa.tawtin("logs", workload).out
    assert view["view"]["status"] == "succeeded", log
    assert view["runs"][0]["factory"] == "Nairobi"
    assert log.startswith(hashlib.sha256(rows).hexdigest())
    assert "kept" in log.splitlines()
    assert (artifact, True, len(rows)) in crossings(casa)
    assert (artifact, False, len(rows)) in crossings(nairobi)
    assert casa.tawtin("data", "show", "rows", "--json").json["artifact"]["places"] == ["Nairobi"]
    assert "Nairobi" in casa.tawtin("data", "ls").out
    names = [each["name"] for each in nairobi.tawtin("data", "ls", "--json").json["items"]]
    assert names == [], "what is there for a guest is nobody's dataset there"


def test_a_personal_dataset_of_morocco_stays_at_home_though_the_spec_says_public(pair: Pair, tmp_path: Path):
    casa, nairobi = pair
    artifact = put(casa, tmp_path, "people", os.urandom(1000), "--class", "personal", "--origin", "MA")
    spec = spec_of(tmp_path, "true", data={"class": "public", "datasets": ["people"]})
    told = casa.tawtin("run", "-y", "--json", "--detach", str(spec))
    assert told.code == 0, told.err
    workload = first_of(told)
    time.sleep(4)
    assert status(casa, workload) == "queued"
    there = {each["factory"]: each for each in casa.tawtin("explain", workload, "--json").json["places"]}
    assert there["Nairobi"].get("allowed", False) is False
    assert "Law 09-08, art. 44" in there["Nairobi"]["citation"]
    assert artifact not in json.dumps([crossings(casa), crossings(nairobi)])
    casa.tawtin("cancel", workload)
