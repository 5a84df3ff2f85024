"""Where the factory of this machine lives: its folder, and the file in which it says where it listens."""

from __future__ import annotations

import json
import os

CLIENT = "client.toml"
FACTORY = "factory.toml"


def home() -> str:
    """The folder with `factory.toml` and `client.toml` where none is named."""
    return os.environ.get("TAWTIN_HOME") or os.path.expanduser("~/.tawtin")


def read_address(file: str) -> dict[str, str]:
    """What a running factory wrote about itself, `url` and `pid`; nothing if none did."""
    try:
        with open(file, encoding="utf-8") as source:
            return {name: str(value) for name, value in json.load(source).items()}
    except (OSError, ValueError, AttributeError):
        return {}
