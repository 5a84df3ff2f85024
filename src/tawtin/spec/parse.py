"""The ways in: YAML, JSON, Python and sbatch scripts. All end in one record and one set of checks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping as Map
from pathlib import PurePath
from typing import Any, Final, cast

import msgspec

from tawtin.model.base import canonical
from tawtin.model.views import FieldError
from tawtin.model.workload import WorkloadSpec
from tawtin.spec.advice import warnings_for
from tawtin.spec.build import build
from tawtin.spec.errors import Problems, SpecError, shown
from tawtin.spec.fields import ENV_NAME, JOB
from tawtin.spec.job import Job, Parsed
from tawtin.spec.kinds import Reading
from tawtin.spec.tree import BYTES_MAX, DEPTH_MAX, Mapping, Node, Scalar, Sequence, decode, parse

_DECODER: Final = msgspec.json.Decoder(Job)
_SBATCH: Final = re.compile(r"^#SBATCH(?:\s|$)", re.MULTILINE)
Values = Map[str, str]


def digest(spec: WorkloadSpec) -> str:
    """Return the SHA-256 of the spec's canonical JSON, hexadecimal. Equal specs have equal digests in every process."""
    return hashlib.sha256(canonical(spec)).hexdigest()


def parse_yaml(
    text: str | bytes, *, file: str = "<spec>", envs: Values | None = None, secrets: Values | None = None
) -> Parsed:
    """Read a spec, or a SkyPilot task, from a YAML file.

    `envs` and `secrets` come from the command line and replace or add to those of the file. Raises SpecError.
    """
    root = parse(decode(text, file), file)
    if root is None or (isinstance(root, Scalar) and root.null):
        raise SpecError((FieldError(message="there is nothing in it; say at least `run`", file=file),))
    return _from_tree(root, file, envs or {}, secrets or {}, name=stem(file))


def parse_json(body: bytes) -> Parsed:
    """Read a spec from the body of a submission. Local paths are refused. Raises SpecError."""
    if len(body) > BYTES_MAX:
        raise SpecError((FieldError(message=f"a spec has at most {BYTES_MAX} bytes"),))
    try:
        job = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _explain(body, error)
    _no_key_twice(body)
    return build(job, Problems(""), wire=True)


def parse_job(job: Job) -> Parsed:
    """Check a spec made in Python as a file would be checked. Raises SpecError."""
    try:
        return parse_json_dict(job.to_dict())
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError((FieldError(message=f"this spec is no plain data: {error}"),)) from error


def parse_json_dict(plain: dict[str, Any], *, file: str = "") -> Parsed:
    """Read a spec from plain data, as of a JSON file. Local paths may stand in it. Raises SpecError."""
    return _from_tree(_tree(plain, 0), file, {}, {}, name=stem(file), marks=False)


def parse_any(
    text: str | bytes, file: str, *, envs: Values | None = None, secrets: Values | None = None
) -> Parsed:
    """Read an sbatch script if it begins with `#!` and has `#SBATCH` lines, else YAML. Raises SpecError."""
    text = decode(text, file)
    if not text.startswith("#!"):
        return parse_yaml(text, file=file, envs=envs, secrets=secrets)
    if not _SBATCH.search(text):
        message = (
            "this is a script without `#SBATCH` lines; add them, or put it under `run: |` in a YAML file"
        )
        raise SpecError((FieldError(message=message, line=1, column=1, file=file),))
    from tawtin.spec.sbatch import parse_sbatch  # noqa: PLC0415 - it builds on the helpers above

    return parse_sbatch(text, file=file, envs=envs, secrets=secrets)


def stem(file: str) -> str:
    """Return the name that a spec without one gets from its file."""
    stem = PurePath(file).stem if file and not file.startswith("<") else ""
    stem = "".join(char if char.isprintable() else "?" for char in stem.strip())[:128].strip()
    return stem or "job"


def _from_tree(
    root: Node, file: str, envs: Values, secrets: Values, *, name: str, marks: bool = True, wire: bool = False
) -> Parsed:
    problems = Problems(file)
    reading = Reading(problems, overridden=frozenset((*envs, *secrets)))
    if marks:
        problems.marks = reading.marks
        reading.marks[""] = root.place
    found = JOB.read(root, "", reading)
    plain = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if not isinstance(root, Mapping):
        problems.check()
    for field, values in (("envs", envs), ("secrets", secrets)):
        for key in values:
            if not ENV_NAME.fullmatch(key):
                problems.add(field, f"{shown(key)} is not a name of letters, digits and `_`")
        if values:
            plain[field] = {**plain.get(field, {}), **values}
    job = msgspec.convert(plain, Job)
    parsed = build(job, problems, name=name, wire=wire)
    return msgspec.structs.replace(
        parsed,
        warnings=warnings_for(parsed.spec, said=job.network is not None),
        fields=tuple(reading.fields) if marks else (),
        file=file,
        marks={field: place for field, place in reading.marks.items() if field.startswith("data.datasets")}
        if marks
        else {},
    )


# --- JSON that does not decode at once: find out why, field by field -------------------------------------------------


class _Twice(ValueError):
    """A key was given twice."""


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)
    return found


def _constant(word: str) -> object:
    raise ValueError(f"{shown(word)} is no value")


_loads = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant).decode


def _no_key_twice(body: bytes) -> object:
    try:
        return _loads(body.decode())
    except _Twice as error:
        message = f"the key {shown(str(error))} is given twice; remove one"
    except RecursionError:
        message = f"a spec nests at most {DEPTH_MAX} levels deep"
    except UnicodeDecodeError:
        message = "this is no UTF-8 text"
    except ValueError as error:
        message = f"this is no JSON: {str(error).lower()}"
    raise SpecError((FieldError(message=message),))


def _explain(body: bytes, error: Exception) -> Parsed:
    plain = _no_key_twice(body)
    try:
        return _from_tree(_tree(plain, 0), "", {}, {}, name="job", marks=False, wire=True)
    except RecursionError:
        pass
    raise SpecError((FieldError(message=f"this spec cannot be read: {str(error).lower()}"),)) from error


def _tree(value: object, depth: int) -> Node:
    place = (0, 0)
    if depth > DEPTH_MAX:
        raise SpecError((FieldError(message=f"a spec nests at most {DEPTH_MAX} levels deep"),))
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value).items()
        return Mapping(
            tuple(
                (Scalar(str(key), plain=False, place=place), _tree(each, depth + 1)) for key, each in entries
            ),
            place,
        )
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        return Sequence(tuple(_tree(each, depth + 1) for each in items), place)
    if isinstance(value, str):
        return Scalar(value, plain=False, place=place)
    if value is None:
        return Scalar("", plain=True, place=place)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return Scalar(text, plain=True, place=place)
