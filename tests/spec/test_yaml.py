"""Specs and SkyPilot tasks as files: what they become, and where they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tawtin.model.resources import Shape
from tawtin.model.workload import SANDBOX_HOME, SANDBOX_WORK, Checkpoint, Data, OnPartition, Output, Residency
from tawtin.spec import Parsed, SpecError, one_line, parse_yaml
from tests.spec.cases import ACCEPTED, CASES, REFUSED, marked
from tools.skypilot_table import keys_of


def accepted(name: str) -> Parsed:
    path = CASES / "accepted" / f"{name}.yaml"
    return parse_yaml(
        path.read_bytes(), file=path.name, secrets={"TOKEN": "hidden"} if name == "own-fields" else {}
    )


def refusal(text: str | bytes) -> str:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text)
    return str(caught.value)


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_each_field_without_a_meaning_is_refused_at_its_own_line(path: Path) -> None:
    text = path.read_text()
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, file=path.name)
    assert [error.line for error in caught.value.errors] == marked(text)
    assert all(error.file == path.name for error in caught.value.errors)
    fields = [error.field for error in caught.value.errors if error.message.startswith("`")]
    assert all(fields), "a refusal names its field"


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_every_key_of_an_accepted_file_was_read(path: Path) -> None:
    parsed = accepted(path.stem)
    want = keys_of(path.read_bytes())
    if path.stem == "anchors":
        want |= {"labels.A", "labels.B"}  # merged with `<<`
    assert {field for field in parsed.fields if not field.endswith("]")} == want


def test_a_skypilot_task_becomes_a_workload() -> None:
    parsed = accepted("distributed")
    spec = parsed.spec
    want = Shape(gpu_model="A100", gpus=8, cpus_milli=32_000, memory_mib=256 * 1024, disk_mib=512 * 1024)
    assert spec.demand.options == (want,)
    assert spec.demand.nodes == 2
    assert spec.preemptible
    assert spec.envs == {"EPOCHS": "10", "FLAG": "on", "ZIP": "0123", "SIZE": "7", "EMPTY": ""}
    assert (spec.secrets, parsed.secret_values) == (("TRACKER_KEY",), {"TRACKER_KEY": "abc"})
    assert spec.labels == {"team": "vision"}
    assert parsed.workdir_local == "./examples/ddp"
    assert parsed.mounts_local == (
        (f"{SANDBOX_HOME}/data-7b", "./data"),
        ("/models/base", "~/models/base"),
        (f"{SANDBOX_WORK}/ckpt/config.json", "./config.json"),
    )


def test_alternatives_keep_their_order_and_the_most_gpus_of_a_range_come_first() -> None:
    found = accepted("alternatives").spec
    got = [(shape.gpu_model, shape.gpus, shape.memory_mib // 1024) for shape in found.demand.options]
    want = [("H100", 1, 64), ("A100-80GB", 2, 64), ("L40S", 4, 128), ("L4", 8, 128)]
    assert got == [*want, ("T4", 3, 64), ("T4", 2, 64), ("T4", 1, 64)]
    assert found.preemptible, "one alternative may be preempted, so the workload may"


def test_braces_without_spaces_name_alternatives_as_they_do_for_skypilot() -> None:
    assert [shape.gpu_model for shape in accepted("braces").spec.demand.options] == ["V100", "A100"]


def test_older_names_of_fields_mean_the_same() -> None:
    spec = accepted("ordered").spec
    got = [(shape.gpu_model, shape.gpus, shape.disk_mib) for shape in spec.demand.options]
    assert got == [("H200", 8, 1024 * 1024), ("H100", 8, 0)]
    assert spec.priority == 5


def test_fields_of_our_own_become_exact_values() -> None:
    parsed = accepted("own-fields")
    spec = parsed.spec
    assert spec.demand.options == (Shape(gpus=1, cpus_milli=500, memory_mib=512),)
    assert (parsed.array_size, parsed.array) == (4, (0, 3, 6, 9))
    assert (spec.max_duration_ms, spec.stop_grace_ms) == (9_000_000, 30_000)
    assert spec.checkpoint == Checkpoint(signal="SIGUSR2", grace_ms=60_000)
    assert (spec.preemptible, spec.network, spec.priority) == (False, False, -5)
    assert spec.on_partition is OnPartition.RERUN
    want = Data(data_class="personal", origin="MA", purpose="national statistics", datasets=("census-2024",))
    assert spec.data == want
    assert spec.residency == Residency(allow=("MA", "NO"), deny=("US",)), "NO is Norway"
    assert (spec.budget_minor, parsed.budget_currency) == (50_050, "MAD")
    want_outputs = (
        Output(name="result.parquet", path="tables/result.parquet"),
        Output(name="log", path="count.log"),
    )
    assert spec.outputs == want_outputs
    assert spec.labels == {"team": "data", "cost-centre": "0042"}
    assert parsed.secret_values == {"TOKEN": "hidden"}


def test_what_is_not_said_has_modest_defaults() -> None:
    plain = parse_yaml("run: hostname", file="/some/where/nightly.yaml").spec
    assert plain.name == "nightly"
    assert plain.demand.options == (Shape(cpus_milli=1000, memory_mib=1024),)
    assert (plain.network, plain.preemptible, plain.max_duration_ms) == (False, True, None)
    gpus = parse_yaml("run: hostname\nresources: {accelerators: H100:4}").spec
    assert gpus.demand.options == (Shape(gpu_model="H100", gpus=4, cpus_milli=8000, memory_mib=32 * 1024),)


def test_several_errors_are_told_at_once_with_places_and_what_to_do() -> None:
    text = "nmae: x\nrun: hostname\nresources:\n  cloud: aws\n  cpus: four\n"
    want = [
        "<spec>:1:1: nmae: there is no field `nmae`; did you mean `name`?",
        (
            "<spec>:4:3: resources.cloud: `cloud` has no meaning here: a factory is one site and no cloud; remove it, "
            "and say which countries may run the work in `residency`"
        ),
        "<spec>:5:3: resources.cpus: `four` is no number of processors; write `4`, `4+` or `0.5`",
    ]
    assert refusal(text).split("\n") == want


def test_variables_and_secrets_without_a_value_are_given_at_submission() -> None:
    text = "run: hostname\nenvs:\n  A:\n  B: file\nsecrets:\n  S:\nworkdir: ./${A}"
    with pytest.raises(SpecError) as caught:
        parse_yaml(text)
    assert [error.field for error in caught.value.errors] == ["envs.A", "secrets.S", "workdir"]
    parsed = parse_yaml(text, envs={"A": "x", "C": "new"}, secrets={"S": "hidden"})
    assert parsed.spec.envs == {"A": "x", "B": "file", "C": "new"}
    assert parsed.workdir_local == "./x"
    assert "hidden" not in repr(parsed)
    assert "hidden" not in repr(parsed.job)
    assert b"hidden" not in __import__("msgspec").json.encode(parsed.spec)


def test_a_secret_is_not_filled_into_a_path() -> None:
    assert "a path would show it" in refusal("run: x\nsecrets: {S: hidden}\nworkdir: ./$S")
    assert "hidden" not in refusal("run: x\nsecrets: {S: hidden}\nworkdir: ./$S")


def test_a_script_that_needs_the_network_is_warned_of_unless_the_spec_decides() -> None:
    setup = "setup: |\n  set -x\n  pip install torch\n"
    want = (
        "line 2 of `setup` has `pip install`, but runs have no network unless the spec says `network: true`"
    )
    assert parse_yaml(f"{setup}run: hostname").warnings == (want,)
    assert parse_yaml(f"{setup}run: hostname\nnetwork: true").warnings == ()
    assert parse_yaml("run: echo pipeline curled").warnings == ()


def test_a_script_that_looks_at_a_status_is_warned_that_it_would_have_ended() -> None:
    (warning,) = parse_yaml("run: |\n  make\n  if [ $? -eq 0 ]; then echo; fi").warnings
    assert warning.startswith("line 2 of `run` looks at `$?`")
    assert parse_yaml("run: |\n  set +e\n  make\n  if [ $? -eq 0 ]; then echo; fi").warnings == ()


@pytest.mark.parametrize(
    ("written", "want"),
    [
        ("yes", True), ("on", True), ("True", True), ("off", False), ("No", False), ("false", False),
    ],
)  # fmt: skip
def test_booleans_are_those_of_yaml(written: str, want: bool) -> None:
    assert parse_yaml(f"run: x\nnetwork: {written}").spec.network is want


@pytest.mark.parametrize("written", ["'true'", "1", "y", "[true]", "TRue"])
def test_what_is_no_boolean_is_refused(written: str) -> None:
    assert "this takes `true` or `false`" in refusal(f"run: x\nnetwork: {written}")


@pytest.mark.parametrize(
    "written", ["'2'", "02", "2.0", "0x2", "1_0", "1:30", "", "9" * 30, "-1", "0", "5000"]
)
def test_what_is_no_number_of_nodes_is_refused_or_not_given(written: str) -> None:
    if not written:
        assert parse_yaml("run: x\nnum_nodes:").spec.demand.nodes == 1
    else:
        assert "num_nodes: " in refusal(f"run: x\nnum_nodes: {written}")


def test_use_spot_and_preemptible_must_agree() -> None:
    assert not parse_yaml("run: x\nresources: {use_spot: false}").spec.preemptible
    assert "says the opposite" in refusal("run: x\npreemptible: false\nresources: {use_spot: true}")


def test_other_types_than_jobs_are_known() -> None:
    assert parse_yaml("type: workspace").spec.type == "workspace"
    assert "`pod` is not one of" in refusal("type: pod\nrun: x") or "one of `job`" in refusal("type: pod")


def test_an_error_without_a_place_is_one_line_as_well() -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml("")
    assert one_line(caught.value.errors[0]) == "<spec>: there is nothing in it; say at least `run`"
