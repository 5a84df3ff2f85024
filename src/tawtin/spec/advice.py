"""What a person should know of a spec that is sound: it asks for something that it will not get."""

from __future__ import annotations

import re
from typing import Final

from tawtin.model.workload import WorkloadSpec

_NETWORK: Final = re.compile(
    r"(?:^|[\s;&|(`])(?:"
    r"(?:uv |python3? -m )?pip3? (?:install|download)|uv (?:sync|add|tool|venv|run)"
    r"|conda (?:install|create|env)|mamba (?:install|create)"
    r"|git (?:clone|pull|fetch)|wget|curl|apt(?:-get)? (?:install|update)|npm (?:install|ci)"
    r"|hf download|huggingface-cli"
    r"|docker|aws s3|gsutil|rclone|ssh|scp|go install|cargo install"
    r")(?=[\s;&|)`]|$)",
    re.MULTILINE,
)
_STATUS: Final = re.compile(r"^(?![ \t]*(?:#|set \+e))[^#\n]*\$\?(?![^\n]*\|\|)", re.MULTILINE)
_NO_ERREXIT: Final = re.compile(r"^\s*set \+e", re.MULTILINE)
_SRUN: Final = re.compile(r"^[^#\n]*\bsrun\b", re.MULTILINE)


def warnings_for(spec: WorkloadSpec, *, said: bool) -> tuple[str, ...]:
    """Return sentences; `said` tells whether the spec says anything about `network`."""
    found: list[str] = []
    if not said:
        for field, script in (("setup", spec.setup), ("run", spec.run)):
            if match := _NETWORK.search(script):
                line = script.count("\n", 0, match.end()) + 1
                word = match[0].strip(" \n;&|(`\t")
                found.append(
                    f"line {line} of `{field}` has `{word}`, but runs have no network "
                    "unless the spec says `network: true`"
                )
                break
    for field, script in (("setup", spec.setup), ("run", spec.run)):
        if (match := _STATUS.search(script)) and not _NO_ERREXIT.search(script):
            line = script.count("\n", 0, match.end()) + 1
            found.append(
                f"line {line} of `{field}` looks at `$?`, but a script ends at the first command that fails; "
                "begin it with `set +e` if it is to go on"
            )
    if match := _SRUN.search(spec.run):
        line = spec.run.count("\n", 0, match.end()) + 1
        found.append(
            f"line {line} of `run` has `srun`: there is none here; "
            "`run` is started once on every node, so call the program itself"
        )
    return tuple(found)
