"""Write the JSON Schema of specs, which editors complete from, next to the code that reads specs."""

from __future__ import annotations

import json
from pathlib import Path

import tawtin.spec
from tawtin.spec import json_schema


def main() -> None:
    """Write `src/tawtin/spec/schema.json`."""
    path = Path(tawtin.spec.__file__).with_name("schema.json")
    path.write_text(json.dumps(json_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
