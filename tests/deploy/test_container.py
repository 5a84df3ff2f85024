"""The container file: what it copies is there, what it calls is understood, nothing in it is secret, nobody is root."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import yaml

from tawtin.cli import main, table

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "container" / "Containerfile"


def steps() -> list[tuple[str, str]]:
    """Instructions with what follows them, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


def test_what_is_copied_is_in_the_checkout_and_in_the_context() -> None:
    copied = {
        name
        for word, rest in steps()
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    context = (ROOT / ".containerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in context if line.startswith("!")} == copied


def test_extras_that_it_installs_exist() -> None:
    asked = set(re.findall(r"--extra (\S+)", FILE.read_text()))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert asked == set(known)


def test_its_commands_are_understood() -> None:
    said = dict(steps())
    assert json.loads(said["ENTRYPOINT"]) == ["tawtin"]
    verb, *rest = json.loads(said["CMD"])
    main.parser_of(verb).parse_args(rest)
    health = json.loads(said["HEALTHCHECK"].partition(" CMD ")[2])
    assert health[0] == "tawtin"
    assert health[1] in table.VERBS


def test_its_user_is_the_one_of_the_pod_and_not_root() -> None:
    user = dict(steps())["USER"]
    pod = yaml.safe_load((ROOT / "deploy" / "kustomize" / "statefulset.yaml").read_text())["spec"][
        "template"
    ]["spec"]
    said = pod["securityContext"]
    assert user == f"{said['runAsUser']}:{said['runAsGroup']}" != "0:0"
    assert f"--uid {said['runAsUser']} " in FILE.read_text()


def test_no_key_is_made_or_taken_while_it_is_built() -> None:
    text = FILE.read_text()
    assert re.findall(r"(?i)secret|password|token|\.key\b|tawtin init", text) == []
