"""Set-ups that are wrong in one way each: what is wrong is named, with its mend."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tawtin.bootstrap.engines import look_at
from tawtin.bootstrap.settings import load_settings
from tawtin.model.findings import Finding
from tools.slurm_cluster import Cluster, cluster

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm() -> Generator[Cluster]:
    with cluster(nodes=2, cpus=16, gpus=4) as made:
        made.client("scontrol", "create", "partitionname=closed", "nodes=ALL", "state=DOWN")
        yield made


def look(tmp_path: Path, table: dict[str, Any], *, deep: bool = False) -> list[Finding]:
    (tmp_path / "factory.toml").write_text('[factory]\nname = "f"\ncountry = "KE"\n', "utf-8")
    return list(look_at(load_settings(tmp_path), "hpc", {"use": "slurm", **table}, deep=deep))


def wrong(found: list[Finding]) -> Finding:
    """The one thing that is wrong, after which nothing more is looked at."""
    faults = [each for each in found if each.state == "fault"]
    assert len(faults) == 1
    assert faults[0] is found[-1]
    return faults[0]


def test_a_sound_set_up_has_no_fault(slurm: Cluster, tmp_path: Path) -> None:
    found = look(tmp_path, {"conf": slurm.conf, "gpus_declared": True}, deep=True)
    assert [each for each in found if each.state != "ok"] == []
    assert "8 H100 (declared, not real)" in next(each.found for each in found if each.name == "nodes")
    assert "a run of `true`" in found[-1].found


OWN_FOLDER = "from tawtin.engines.shared.settings import ClusterSettings as Settings\n"
PLANTED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "an unknown kind": ({"use": "slrum"}, "settings", "no engine `slrum`", "docs/reference"),
    "an unknown field": ({"partition": ["all"]}, "settings", "unknown field `partition`", "docs/reference"),
    "a wrong type": ({"partitions": "all"}, "settings", "engines.hpc.partitions: expected `array`", "docs/reference"),
    "no programs": ({"programs": "/nowhere"}, "programs", "`sbatch`", "install slurm-client"),
    "no configuration": ({"conf": "/nowhere/slurm.conf"}, "configuration", "/nowhere/slurm.conf", "mend `conf`"),
    "an unknown partition": ({"partitions": ["gpu"]}, "partitions", "no partition `gpu`", "there is all, closed"),
    "a partition that is down": ({"partitions": ["closed"]}, "partitions", "closed is up", "state=up"),
    "a reservation that is not there": (
        {"options": ["--reservation=tawtin"]}, "rights", "a job would be refused", "scontrol show reservations",
    ),
    "an option that Slurm does not know": ({"options": ["--frobnicate"]}, "rights", "frobnicate", "mend `options`"),
    "a root that is no absolute path": ({"root": "shared/tawtin"}, "folder", "no absolute path", "from / on"),
    "a root that is not there": ({"root": "/nowhere/tawtin"}, "folder", "`/nowhere/tawtin` is not there", "mkdir -p"),
    "a root that anybody may change": ({"root": "HERE/open"}, "folder", "anybody may change runs", "chmod o-w"),
    "a folder that is no engine": ({"use": "own", "folder": "HERE/own"}, "settings", "no `make`", "do what"),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_named_with_its_mend(planted: str, slurm: Cluster, tmp_path: Path) -> None:
    table, name, found, mend = PLANTED[planted]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "engine.toml").write_text('name = "own"\ntitle = "mine"\n', "utf-8")
    (tmp_path / "own" / "engine.py").write_text(OWN_FOLDER, "utf-8")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    places = {
        key: str(table[key]).replace("HERE", str(tmp_path)) for key in ("root", "folder") if key in table
    }
    conf = {} if "folder" in table else {"conf": slurm.conf}
    said = wrong(look(tmp_path, conf | table | places))
    assert said.name == name
    assert found in said.found
    assert mend in said.mend


def resume(slurm: Cluster) -> None:
    for node in ("node0", "node1"):
        slurm.client("scontrol", "update", f"nodename={node}", "state=resume")
    slurm.wait_idle()


def test_nodes_that_are_drained_are_named(
    slurm: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    table = {"conf": slurm.conf}
    slurm.client("scontrol", "update", "nodename=node1", "state=drain", "reason=test")
    request.addfinalizer(lambda: resume(slurm))
    some = next(each for each in look(tmp_path, table) if each.name == "nodes")
    assert (some.state, "node1 do not" in some.found) == ("warning", True)
    slurm.client("scontrol", "update", "nodename=node0", "state=drain", "reason=test")
    assert "none of them takes work" in wrong(look(tmp_path, table)).found


def test_a_controller_and_a_munged_that_are_down_are_told_apart(tmp_path: Path) -> None:
    with cluster() as made:
        made.kill("slurmctld")
        said = wrong(look(tmp_path, {"conf": made.conf, "call_ms_max": 3_000}))
        assert (said.name, "Slurm does not answer" in said.found) == ("cluster", True)
        made.kill("munged")
        said = wrong(look(tmp_path, {"conf": made.conf, "call_ms_max": 3_000}))
        assert (said.name, "systemctl start munge" in said.mend) == ("munge", True)


@pytest.mark.namespaces
def test_a_folder_that_the_nodes_do_not_see_is_found_by_a_run(slurm: Cluster, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    code = (
        "import sys; from pathlib import Path; from tests.engines.test_probe import look, wrong\n"
        "found = look(Path(sys.argv[1]), {'conf': sys.argv[2], 'root': sys.argv[1] + '/shared'}, deep=True)\n"
        "print(wrong(found))"
    )
    hidden = f'mount -t tmpfs -o mode=700 none {tmp_path}/shared && exec "$@"'  # here alone, as on a machine of its own
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", sys.executable, "-c", code, str(tmp_path), slurm.conf],
        cwd=Path(__file__).parents[2], env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "a run of `true` on `node0` ended as" in done.stdout
    assert "sees `root` at the same path" in done.stdout
