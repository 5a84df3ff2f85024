"""`tawtin init` writes settings that mean what was asked for, and whose examples can be taken as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from tawtin.bootstrap.settings import Settings, load_settings
from tawtin.cli import main, target
from tawtin.engines.local.settings import DeclaredGpus

EXAMPLE = re.compile(r"^# (?=\[|[a-z_0-9A-Z]+ = )", re.MULTILINE)


def written(folder: Path, *words: str) -> Path:
    assert main.main(["init", str(folder), *words]) == 0
    return folder / target.FACTORY


def plain(folder: Path, text: str) -> Path:
    """A settings file of these lines alone."""
    (folder / "plain").mkdir()
    file = folder / "plain" / target.FACTORY
    file.write_text(text)
    return file


def uncommented(text: str) -> str:
    """The settings with every example taken."""
    return EXAMPLE.sub("", text)


def test_what_init_writes_is_loaded_as_it_was_asked_for(tmp_path: Path) -> None:
    words = (
        "--name Casablanca --country MA --operator Telecom --cpu-hour 100 --gpu-hour 3500 --port 0".split()
    )
    file = written(tmp_path / "home", *words, "--declare-gpus", "H100:4", "--expose", "/usr/local/cuda")
    said = load_settings(file)
    other = plain(
        tmp_path,
        """
        prices = {cpu_hour = 100, gpu_hour = {"*" = 3500}}
        api.port = 0
        local = {expose = ["/usr/local/cuda"], gpus_declared = [{model = "H100", count = 4}]}
        factory = {name = "Casablanca", country = "MA", operator = "Telecom", currency = "MAD"}
        """,
    )
    assert said == _at(load_settings(other), said.data)


def test_the_shortest_init_leaves_every_default_as_it_is(tmp_path: Path) -> None:
    said = load_settings(written(tmp_path / "home", "--name", "x"))
    other = plain(tmp_path, 'factory = {name = "x", country = "MA"}\nprices.gpu_hour."*" = 0\n')
    assert said == _at(load_settings(other), said.data)


@pytest.mark.parametrize("words", [(), ("--declare-gpus", "H100:2")], ids=["plain", "declared"])
def test_every_example_in_it_is_understood(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = written(tmp_path / "home", "--country", "KE", *words)
    examples = len(EXAMPLE.findall(file.read_text()))
    assert examples > 20, "no examples were found, so nothing was checked"
    file.write_text(uncommented(file.read_text()))
    said = load_settings(file)
    assert said.factory.facts.law == "KE"
    assert said.prices.gpu_hour["H100"] == 3500
    assert said.engines["hpc"]["partitions"] == ["gpu"]
    assert said.local.gpus_declared == (
        (DeclaredGpus(model="H100", count=2),) if words else (DeclaredGpus(model="H100", count=4),)
    )


def test_an_example_of_a_setting_that_is_gone_would_be_noticed(tmp_path: Path) -> None:
    file = written(tmp_path / "home")
    file.write_text(uncommented(file.read_text()).replace("roam_after_ms", "roam_after_s"))
    with pytest.raises(Exception, match=r"policy.*unknown field `roam_after_s`"):
        load_settings(file)


def test_every_section_is_in_it(tmp_path: Path) -> None:
    text = written(tmp_path / "home").read_text()
    mentioned = set(re.findall(r"^(?:# )?\[{1,2}([a-z_]+)", text, flags=re.MULTILINE))
    paces = {"pace"}  # how often the loop looks: nothing that a newcomer sets
    assert set(Settings.__struct_fields__) - {"data"} - paces == mentioned


def _at(settings: Settings, data: str) -> Settings:
    return replace(settings, data=data)
