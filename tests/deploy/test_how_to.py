"""Commands in the how-to are ones that `tawtin` and the tools understand, and its files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tawtin.cli import exits, main
from tools.blueprint import parsed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
PROMPT = re.compile(r"^[$#] (.+)$", re.MULTILINE)
BEFORE = re.compile(r"^(?:sudo |kubectl .* -- |podman exec tawtin |podman run .*tawtin:0\.1\.0 (?=init))")


def commands() -> list[str]:
    """What is typed in the page, without who asks for it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    typed = [line for block in blocks for line in PROMPT.findall(block.replace("\\\n", " "))]
    found: list[str] = []
    for line in typed:
        rest = BEFORE.sub("", line)
        found.append(f"tawtin {rest}" if "tawtin:0.1.0 init" in line else rest)
    return found


def test_every_call_of_tawtin_is_understood() -> None:
    calls = [shlex.split(each, comments=True) for each in commands() if each.startswith("tawtin ")]
    assert len(calls) > 8, "too few were found, so little was checked"
    for _, verb, *rest in calls:
        main.parser_of(verb).parse_args(rest)


def test_a_wrong_call_would_be_noticed() -> None:
    with pytest.raises(exits.Fault):
        main.parser_of("peer").parse_args(["invite", "--lent", "H100:4"])


def test_every_call_of_the_blueprint_is_understood() -> None:
    calls = [each for each in commands() if each.startswith("python -m tools.blueprint ")]
    assert len(calls) == 2
    for call in calls:
        parsed(shlex.split(call.partition(">")[0])[3:])


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+", PAGE))
    assert len(named) > 4
    assert [name for name in named if not (ROOT / name).exists()] == []
