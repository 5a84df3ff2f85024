"""What a peer's spec may not be, however well its peer is known."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core.guests import unsound
from tawtin.model.resources import Demand
from tawtin.model.workload import Checkpoint, Data, Input, Mount
from tests.core.building import spec

SOUND = replace(spec(), envs={"NAME": "value"}, setup="true", checkpoint=Checkpoint())


def test_a_plain_spec_is_sound():
    assert unsound(SOUND) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"mounts": (Mount(path="/data", artifact="../etc"),)},
        {"workdir": "/etc"},
        {"data": Data(datasets=("a",), inputs=(Input(artifact="../etc", name="a"),))},
        {"data": Data(datasets=("a",) * 1_001)},
        {"data": Data(inputs=(Input(artifact="sha256:" + "0" * 64),) * 1_001)},
        {"secrets": ("TOKEN",)},
        {"run": "true\0"},
        {"setup": "x" * (512 * 1024)},
        {"envs": {"A=B": "c"}},
        {"envs": {"": "c"}},
        {"envs": {"A": "\0"}},
        {"envs": {f"A{number}": "" for number in range(1_001)}},
        {"checkpoint": Checkpoint(signal="SIGKILL")},
        {"checkpoint": Checkpoint(signal="../x")},
        {"demand": Demand(nodes=10_001, options=SOUND.demand.options)},
        {"demand": Demand(nodes=1, options=SOUND.demand.options * 65)},
    ],
)
def test_what_an_engine_would_take_as_a_path_a_name_or_a_signal_is_refused(change: dict[str, object]):
    assert unsound(replace(SOUND, **change))
