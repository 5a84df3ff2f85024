"""The published JSON Schema says the same as the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

import tawtin.spec
from tawtin.spec import Alternative, Job, Resources, json_schema
from tawtin.spec.fields import _SHAPE, JOB, RESOURCES
from tests.docs.pages import blocks, pages
from tests.spec.cases import ACCEPTED, REFUSED

FILE = Path(tawtin.spec.__file__).with_name("schema.json")


class Yaml12(yaml.SafeLoader):
    """Reads `NO` as text, as editors do, which follow YAML 1.2."""


Yaml12.yaml_implicit_resolvers = {
    first: [each for each in resolvers if first in "tTfF" or not each[0].endswith(":bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(text: str | bytes) -> Any:  # noqa: ANN401 - whatever the file holds
    return yaml.load(text, Loader=Yaml12)  # noqa: S506 - a safe loader with fewer words


def problems(document: Any) -> list[str]:  # noqa: ANN401 - whatever the file holds
    return [error.message for error in Draft202012Validator(json_schema()).iter_errors(document)]  # pyright: ignore[reportUnknownMemberType] - stubs miss a type


def test_the_published_file_is_what_the_fields_say() -> None:
    want = json.dumps(json_schema(), indent=2) + "\n"
    assert FILE.read_text() == want, "run `python -m tools.spec_schema` and commit the result"


def test_the_schema_itself_is_sound() -> None:
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_accepted_files_are_valid(path: Path) -> None:
    assert problems(load(path.read_bytes())) == []


@pytest.mark.parametrize(
    "text", [block.code for page in pages() for block in blocks(page.read_text()) if block.kind == "spec"]
)
def test_specs_in_the_docs_are_valid(text: str) -> None:
    assert problems(load(text)) == []


@pytest.mark.parametrize(
    "path",
    [path for path in REFUSED if path.stem in {"clouds", "other-systems", "values"}],
    ids=lambda path: path.stem,
)
def test_refused_fields_are_invalid(path: Path) -> None:
    assert problems(load(path.read_bytes()))


@pytest.mark.parametrize(
    ("fields", "record"),
    [(JOB.fields, Job), (RESOURCES.fields, Resources), (_SHAPE, Alternative)],
    ids=["job", "resources", "alternative"],
)
def test_the_record_has_the_fields_of_the_table(fields: dict[str, Any], record: type[msgspec.Struct]) -> None:
    want = {each.into or name for name, each in fields.items()}
    assert {field.encode_name for field in msgspec.structs.fields(record)} == want
