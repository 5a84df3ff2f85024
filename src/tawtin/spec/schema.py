"""The JSON Schema of a spec file, for editors. It is made from the table of fields that reads specs."""

from __future__ import annotations

from typing import Any, Final

from tawtin.spec.fields import JOB

SCHEMA_ID: Final = "urn:tawtin:spec:1"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a spec as a YAML or JSON file.

    It describes names and forms. What a unit, a path or a country may be is checked when the spec is read.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "tawtin spec",
        "description": "What a tenant asks a factory for.",
        **JOB.schema(),
    }
