"""Judge every YAML file of a folder of SkyPilot task files, and print what came out as a Markdown table.

    python tools/skypilot_table.py ~/skypilot/examples ~/skypilot/llm

It ends with code 1 if a file neither gives a plan nor a refusal that names a line, or if a key of an accepted file was
not read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from tawtin.model.resources import Shape
from tawtin.model.views import FieldError
from tawtin.spec import Parsed, SpecError, parse_yaml

LINES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One file, and what became of it."""

    name: str
    parsed: Parsed | None = None
    errors: tuple[FieldError, ...] = ()
    unread: tuple[str, ...] = ()
    """Keys of an accepted file that the parser did not read: must be none."""

    @property
    def sound(self) -> bool:
        """Whether it was read whole, or refused by line."""
        return not self.unread and all(error.line is not None for error in self.errors)


def keys_of(text: bytes) -> set[str]:
    """Return the dotted path of every key, found by another reader than the product's."""

    def walk(node: yaml.Node | None, path: str) -> Iterator[str]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "<<":
                    continue
                at = f"{path}.{key.value}" if path else str(key.value)
                yield at
                yield from walk(value, at)
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from walk(item, f"{path}[{number}]")

    return set(walk(yaml.compose(text, Loader=yaml.SafeLoader), ""))


def judge(path: Path, name: str) -> Judged:
    """Read one file as a tenant's would be read. Variables without a value get one, as `--env` would give."""
    text = path.read_bytes()
    envs, secrets = given(text)
    try:
        parsed = parse_yaml(text, file=name, envs=envs, secrets=secrets)
    except SpecError as error:
        return Judged(name=name, errors=error.errors)
    return Judged(name=name, parsed=parsed, unread=tuple(sorted(keys_of(text) - set(parsed.fields))))


def given(text: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Return what has to be given at submission: variables and secrets without a value."""
    try:
        root = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}, {}
    found: list[dict[str, str]] = []
    for field in ("envs", "secrets"):
        values = cast("dict[str, object]", root).get(field) if isinstance(root, dict) else None
        pairs = cast("dict[object, object]", values).items() if isinstance(values, dict) else ()
        found.append({str(key): "given" for key, value in pairs if value is None})
    return found[0], found[1]


def files_of(folders: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the YAML files below `folders`, sorted, each with its name below the folder's parent."""
    for folder in folders:
        for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
            if path.is_file():
                yield path, str(path.relative_to(folder.parent))


def row(judged: Judged) -> str:
    """Return the line of the table."""
    if judged.parsed is not None:
        return f"| `{judged.name}` | plan | {_plan(judged.parsed)} | {_cell('; '.join(judged.parsed.warnings))} |"
    errors = judged.errors
    places = ", ".join(
        f"`{each.field}` line {each.line}" if each.field else f"line {each.line}" for each in errors
    )
    reasons = list(
        dict.fromkeys(
            error.message.partition(" has no meaning here: ")[2] or error.message for error in errors
        )
    )
    why = "; ".join(reasons[:LINES_SHOWN])
    if len(reasons) > LINES_SHOWN:
        why += f"; and {len(reasons) - LINES_SHOWN} more"
    return f"| `{judged.name}` | refused | {_cell(places)} | {_cell(why)} |"


def _plan(parsed: Parsed) -> str:
    options = " or ".join(_shape(shape) for shape in parsed.spec.demand.options[:LINES_SHOWN])
    more = len(parsed.spec.demand.options) - LINES_SHOWN
    nodes = parsed.spec.demand.nodes
    return (f"{nodes} nodes, each " if nodes > 1 else "") + options + (f" or {more} more" if more > 0 else "")


def _shape(shape: Shape) -> str:
    gpus = f"{shape.gpus} {shape.gpu_model or 'GPU'}, " if shape.gpus else ""
    return f"{gpus}{shape.cpus_milli / 1000:g} CPU, {shape.memory_mib / 1024:g} GiB"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Print the table; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    judged = [judge(path, name) for path, name in files_of(parser.parse_args().folders)]
    accepted = sum(each.parsed is not None for each in judged)
    print(f"{len(judged)} files: {accepted} give a plan, {len(judged) - accepted} are refused.\n")
    print("| file | result | resources, or field and line | what is said |\n|---|---|---|---|")
    for each in judged:
        print(row(each))
    broken = [each for each in judged if not each.sound]
    for each in broken:
        print(f"{each.name}: unread {each.unread}, errors {each.errors}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
