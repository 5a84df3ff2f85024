"""Paths of a spec that a peer parsed: taken only as our own parser would have written them."""

from __future__ import annotations

import pytest

from tawtin.model.resources import Demand, Shape
from tawtin.model.workload import Mount, Output, WorkloadSpec
from tawtin.spec.paths import foreign

ARTIFACT = "sha256:" + "0" * 64
DEMAND = Demand(options=(Shape(),))


def spec(mounts: tuple[str, ...] = (), outputs: tuple[tuple[str, str], ...] = ()) -> WorkloadSpec:
    return WorkloadSpec(
        name="x",
        run="true",
        demand=DEMAND,
        mounts=tuple(Mount(path=path, artifact=ARTIFACT) for path in mounts),
        outputs=tuple(Output(name=name, path=path) for name, path in outputs),
    )


def test_what_our_parser_writes_is_taken():
    assert foreign(spec(("/data", "/home/run/work/x"), (("model", "out/model.pt"), ("log", "log")))) == ""


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc/passwd",
        "/usr",
        "data",
        "~/x",
        "/data/../etc",
        "/data//x",
        "/data/",
        "/data/./x",
        "",
        "/a\0b",
        "/home",
    ],
)
def test_a_mount_elsewhere_is_refused(path: str):
    assert foreign(spec((path,)))


@pytest.mark.parametrize("path", ["/etc/shadow", "../other", "a/../../b", ".", "", "a//b", "~/x", "a\0b"])
def test_an_output_elsewhere_is_refused(path: str):
    assert foreign(spec(outputs=(("x", path),)))


def test_two_at_one_place_are_refused():
    assert foreign(spec(("/data", "/data")))
    assert foreign(spec(("/data", "/data/in")))
    assert foreign(spec(outputs=(("x", "a"), ("x", "b"))))
    assert foreign(spec(outputs=(("a/b", "a"),)))
    assert foreign(spec(tuple(f"/d{number}" for number in range(300))))
