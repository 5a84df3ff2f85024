"""sbatch scripts: what they become, and where they are refused."""

from __future__ import annotations

import subprocess

import pytest

from tawtin.model.resources import Shape
from tawtin.model.workload import Checkpoint
from tawtin.spec import SpecError, parse_any, parse_sbatch
from tawtin.spec.sbatch import _TAKES
from tawtin.spec.sbatch_options import FLAGS, IGNORED, LONG, REFUSED
from tests.spec.cases import SBATCH, marked


def script(*options: str, body: str = "hostname") -> str:
    return "#!/bin/bash\n" + "".join(f"#SBATCH {option}\n" for option in options) + body + "\n"


def shape(*options: str) -> Shape:
    return parse_sbatch(script(*options)).spec.demand.options[0]


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_any(text, "job.sh")
    return str(caught.value)


def test_a_script_becomes_a_workload() -> None:
    parsed = parse_any((SBATCH / "train.sbatch").read_bytes(), "train.sbatch")
    spec = parsed.spec
    assert spec.name == "train"
    want = Shape(gpu_model="H100", gpus=4, cpus_milli=32_000, memory_mib=262_144)
    assert (spec.demand.nodes, spec.demand.options) == (2, (want,))
    assert (parsed.array_size, parsed.array) == (3, (1, 2, 3))
    assert spec.max_duration_ms == 36 * 3_600_000
    assert spec.checkpoint == Checkpoint(signal="SIGUSR1", grace_ms=120_000)
    assert (spec.envs, spec.labels) == ({"EPOCHS": "3"}, {"comment": "first try"})
    assert parsed.workdir_local == "."
    assert any("`logs/%j.out`" in warning for warning in parsed.warnings)
    assert "partition" not in parsed.fields, "options after the first command are not read"


def test_each_option_without_a_meaning_is_refused_at_its_own_line() -> None:
    path = SBATCH / "refused.sbatch"
    with pytest.raises(SpecError) as caught:
        parse_any(path.read_bytes(), path.name)
    assert [error.line for error in caught.value.errors] == marked(path.read_text())


def test_the_script_runs_as_under_sbatch_without_ending_at_the_first_failure() -> None:
    spec = parse_sbatch(script(body="false\nfalse | true\necho line $LINENO")).spec
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", spec.run], capture_output=True, text=True, check=True
    )
    assert done.stdout == "line 4\n", "lines keep their numbers"


@pytest.mark.parametrize(
    ("options", "want"),
    [
        (("-n 4",), Shape(cpus_milli=4000)),
        (("-n4 -c2",), Shape(cpus_milli=8000)),
        (("--ntasks=8", "--nodes=2"), Shape(cpus_milli=4000)),
        (("--mem=4000",), Shape(memory_mib=4096)),
        (("--mem-per-cpu=2G -c 4",), Shape(cpus_milli=4000, memory_mib=8192)),
        (("-G 2",), Shape(gpus=2)),
        (("--gpus=a100:4 -N 2",), Shape(gpu_model="A100", gpus=2)),
        (("--gres=gpu:2",), Shape(gpus=2)),
        (("--gres gpu",), Shape(gpus=1)),
        (("--gpus-per-task=h100:1 --ntasks-per-node=4",), Shape(gpu_model="H100", gpus=4, cpus_milli=4000)),
        (("--gpus-per-node=2 --cpus-per-gpu=6 --mem-per-gpu=10G",), Shape(gpus=2, cpus_milli=12_000, memory_mib=24_576)),  # noqa: E501 - one case
        (("--tmp=10G",), Shape(disk_mib=12_288)),
    ],
)  # fmt: skip
def test_tasks_are_multiplied_out_to_what_a_node_gets(options: tuple[str, ...], want: Shape) -> None:
    got = shape(*options)
    if want.gpus and want.memory_mib == Shape().memory_mib:
        want = Shape(
            gpu_model=want.gpu_model, gpus=want.gpus, cpus_milli=want.cpus_milli, memory_mib=8192 * want.gpus
        )
    assert got == want


@pytest.mark.parametrize(
    ("written", "want"),
    [
        ("10", 600),
        ("10:30", 630),
        ("1:00:00", 3600),
        ("1-0", 86_400),
        ("1-12:30", 131_400),
        ("2-0:0:5", 172_805),
    ],
)
def test_times_are_slurms(written: str, want: int) -> None:
    assert parse_sbatch(script(f"--time={written}")).spec.max_duration_ms == want * 1000


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (script("--gpus=3 -N 2"), "3 GPUs do not divide by 2 nodes"),
        (script("--gpus=4 --gpus-per-node=2"), "ask for different numbers"),
        (script("--gres=gpu:a100:1,gpu:h100:1"), "is a second GPU model"),
        (script("--time=0"), "means no limit"),
        (script("--ntasks=9 --ntasks-per-node=4 -N 2"), "9 tasks are more than 2 nodes with 4 each"),
        (script("--export=PATH"), "`PATH` has no value; give it with `--env PATH=...`"),
        (script("--chdir=/scratch/me"), "is a folder of another machine"),
        (script("--chdir=../up"), "climbs out with `..`"),
        (script("--job-name"), "`job-name` needs a value"),
        (script("stray"), "is no option"),
        (script("--comment='open"), "do not close"),
        (script("--signal=KILL"), "`KILL` is not one of"),
        ("#!/usr/bin/env python3\n#SBATCH -n 1\nprint()", "is no shell"),
        ("#!/bin/bash\nhostname", "this is a script without `#SBATCH` lines"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text: str, want: str) -> None:
    assert want in refusal(text)


def test_variables_and_secrets_come_from_the_command_line() -> None:
    parsed = parse_any(script("--export=NONE,A"), "job.sh", envs={"A": "1"}, secrets={"T": "hidden"})
    assert parsed.spec.envs == {"A": "1"}
    assert (parsed.spec.secrets, parsed.secret_values) == (("T",), {"T": "hidden"})


def test_windows_lines_change_nothing() -> None:
    text = script("-n 4", "--time=10")
    assert parse_sbatch(text.replace("\n", "\r\n")).spec == parse_sbatch(text).spec


def test_srun_is_warned_of() -> None:
    (warning,) = parse_sbatch(script("-n 1", body="# srun\nsrun ./a.out")).warnings
    assert warning.startswith("line 4 of `run` has `srun`")


def test_every_option_is_taken_refused_or_warned_of_and_never_two_of_these() -> None:
    taken, refused, warned = set(_TAKES), set(REFUSED), set(IGNORED)
    assert not taken & refused
    assert not taken & warned
    assert not refused & warned
    assert set(LONG.values()) <= taken | refused | warned
    assert taken | refused | warned >= FLAGS
