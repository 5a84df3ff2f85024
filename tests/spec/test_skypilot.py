"""SkyPilot's own examples, read from a folder outside of the repository, and our own files in the same dialect.

`TAWTIN_SKYPILOT_EXAMPLES` names the folders, separated by `:`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tawtin.spec import Parsed, SpecError, parse_yaml
from tests.spec.cases import ACCEPTED
from tools.skypilot_table import Judged, files_of, given, judge, keys_of

FOLDERS = [Path(each) for each in os.environ.get("TAWTIN_SKYPILOT_EXAMPLES", "").split(":") if each]
NEEDS = pytest.mark.skipif(
    not FOLDERS, reason="needs: SkyPilot's example files (set TAWTIN_SKYPILOT_EXAMPLES to their folders)"
)
SAYS_WHAT_IS_SO_ANYWAY = ("job_recovery", "spot_recovery", "strategy", "max_restarts_on_errors")
FILES_MIN = 30


@pytest.fixture(scope="module")
def judged() -> list[tuple[Path, Judged]]:
    return [(path, judge(path, name)) for path, name in files_of(FOLDERS)]


@NEEDS
def test_each_example_gives_a_plan_or_a_refusal_that_names_its_line(
    judged: list[tuple[Path, Judged]],
) -> None:
    assert len(judged) >= FILES_MIN
    assert [each.name for _, each in judged if not each.sound] == []
    assert any(each.parsed for _, each in judged)


@NEEDS
def test_no_key_of_an_accepted_example_is_without_effect(judged: list[tuple[Path, Judged]]) -> None:
    for path, each in judged:
        if each.parsed is not None:
            assert idle_keys(path.read_bytes()) == [], each.name


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_no_key_of_our_own_files_is_without_effect(path: Path) -> None:
    assert idle_keys(path.read_bytes()) == []


def test_a_key_without_effect_would_be_found() -> None:
    assert idle_keys(b"name: x\nrun: y\nnum_nodes: 1\nresources: {cpus: 1}") == []
    assert idle_keys(b"run: y\nnetwork: false\ntype: job") == [], (
        "a default that is written out is no idle key"
    )


def idle_keys(text: bytes) -> list[str]:
    """Return keys whose value changes nothing: replaced by any of several others, they leave the outcome as it was."""
    if b"<<:" in text:
        return []  # what is merged has no place of its own
    want = outcome(text)
    idle: list[str] = []
    for key in sorted(keys_of(text)):
        name = key.rpartition(".")[2]
        if name in SAYS_WHAT_IS_SO_ANYWAY:
            continue
        if all(outcome(replaced(text, key, value)) == want for value in ("other", 3, True, ["other"])):
            idle.append(key)
    return idle


def outcome(text: bytes) -> object:
    envs, secrets = given(text)
    try:
        return facts(parse_yaml(text, envs={**envs, "A": "a"}, secrets={**secrets, "TOKEN": "t"}))
    except SpecError as error:
        return [each.message for each in error.errors]


def facts(parsed: Parsed) -> object:
    return (
        parsed.spec, parsed.array, parsed.workdir_local, parsed.mounts_local, parsed.secret_values,
        parsed.budget_currency,
    )  # fmt: skip


def replaced(text: bytes, key: str, value: object) -> bytes:
    """Return the file with another value at `key`."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)

    def walk(node: yaml.Node | None, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for number, (name, inner) in enumerate(node.value):
                at = f"{path}.{name.value}" if path else str(name.value)
                if at == key:
                    node.value[number] = (name, yaml.compose(yaml.safe_dump(value), Loader=yaml.SafeLoader))
                else:
                    walk(inner, at)
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                walk(item, f"{path}[{number}]")

    walk(root, "")
    assert root is not None
    return yaml.serialize(root).encode()  # pyright: ignore[reportUnknownMemberType] - stubs miss a type
