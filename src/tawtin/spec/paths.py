"""Paths inside the sandbox, paths on the user's machine, and the names of artifacts. Functions raise ValueError."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tawtin.model.workload import SANDBOX_HOME, SANDBOX_WORK, WorkloadSpec
from tawtin.spec.errors import shown

PATH_BYTES_MAX: Final = 4096
MOUNTS_MAX: Final = 256
ARTIFACT: Final = re.compile(r"sha256:[0-9a-f]{64}")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SYSTEM: Final = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
)
_WHOLE: Final = ("/", "/home", "/root", "/tmp", "/var", SANDBOX_HOME, SANDBOX_WORK)  # noqa: S108 - inside the sandbox


def filled(text: str, envs: Mapping[str, str], secrets: Mapping[str, str | None]) -> str:
    """Return `text` with `$NAME` and `${NAME}` replaced by values of `envs`."""
    if "$" not in text:
        return text
    for match in _VARIABLE.finditer(text):
        name = match[1] or match[2]
        if name in secrets:
            raise ValueError(f"{shown(match[0])} is a secret, and a path would show it; move it to `envs`")
        if name not in envs:
            raise ValueError(
                f"{shown(match[0])} is not in `envs`; add it there, or give it with `--env {name}=...`"
            )
    return _VARIABLE.sub(lambda match: envs[match[1] or match[2]], text)


def sound(path: str) -> None:
    """Raise ValueError if `path` is empty, too long, holds control characters or climbs with `..`."""
    if not path:
        raise ValueError("this path is empty; write one, or remove the field")
    if not path.isprintable():
        raise ValueError(f"{shown(path)} holds control characters; rename the file")
    if len(path.encode("utf-8", "replace")) > PATH_BYTES_MAX:
        raise ValueError(f"{shown(path)} is longer than {PATH_BYTES_MAX} bytes; shorten it")
    if ".." in path and ".." in path.split("/"):
        raise ValueError(f"{shown(path)} climbs out with `..`; write the path without it")


def source(path: str) -> str:
    """Return a local path or an artifact's id, as they may stand in `workdir` and `file_mounts`."""
    if ARTIFACT.fullmatch(path):
        return path
    if path.startswith("sha256:"):
        raise ValueError(f"{shown(path)} is no artifact; its id is `sha256:` and 64 hexadecimal digits")
    if match := _SCHEME.match(path):
        raise ValueError(
            f"{shown(path)} cannot be mounted: there is nothing that reads `{match[0]}`; upload the data with "
            "`tawtin artifacts put` and write its `sha256:...` id, or a local path"
        )
    sound(path)
    return path


def target(path: str) -> str:
    """Return the absolute path inside the sandbox: `~` is the run's home, relative paths are in its working folder."""
    sound(path)
    if path == "~" or path.startswith("~/"):
        path = SANDBOX_HOME + path[1:]
        for old in ("/sky_workdir/", "/sky_workdir"):
            path = path.replace(SANDBOX_HOME + old, SANDBOX_WORK + old.removeprefix("/sky_workdir"), 1)
    elif path.startswith("~"):
        raise ValueError(f"{shown(path)} is another user's home; a run has only its own, `~/`")
    elif not path.startswith("/"):
        path = f"{SANDBOX_WORK}/{path}"
    whole = "/" + "/".join(part for part in path.split("/") if part not in {"", "."})
    if whole in _WHOLE or any(whole == system or whole.startswith(system + "/") for system in _SYSTEM):
        raise ValueError(
            f"{shown(whole)} belongs to the system; mount below `~/` or at a path such as `/data`"
        )
    return whole


def inside(path: str) -> str:
    """Return a path relative to the working folder, as it may stand in `outputs`."""
    sound(path)
    if path.startswith(("/", "~")):
        raise ValueError(
            f"{shown(path)} is not inside the working folder; write a relative path, such as `out/model.pt`"
        )
    whole = "/".join(part for part in path.split("/") if part not in {"", "."})
    if not whole:
        raise ValueError(f"{shown(path)} is the whole working folder; name what is to be kept in it")
    return whole


def foreign(spec: WorkloadSpec) -> str:
    """Why the paths of a spec that was not parsed here cannot be used; empty if they are as ours would be."""
    if max(len(spec.mounts), len(spec.outputs)) > MOUNTS_MAX:
        return f"it has more than {MOUNTS_MAX} mounts or outputs"
    try:
        for mount in spec.mounts:
            if target(mount.path) != mount.path:
                return f"{shown(mount.path)} is no path for a mount"
        for output in spec.outputs:
            if inside(output.path) != output.path or not output.name.isprintable() or "/" in output.name:
                return f"{shown(output.path)} is no path for an output"
    except ValueError as error:
        return str(error)
    hidden = nested([mount.path for mount in spec.mounts])
    twice = len({mount.path for mount in spec.mounts}) < len(spec.mounts)
    if hidden is not None or twice or len({output.name for output in spec.outputs}) < len(spec.outputs):
        return "two of its mounts or outputs are at one place"
    return ""


def nested(targets: list[str]) -> str | None:
    """Return the first path that lies inside another one of `targets`, or None."""
    whole = set(targets)
    for path in targets:
        parts = path.split("/")
        if any("/".join(parts[:end]) in whole for end in range(2, len(parts))):
            return path
    return None
