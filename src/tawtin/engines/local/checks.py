"""What is looked at before the engine opens: settings that would show too much, and limits that are weak here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tawtin.engines.local.settings import LocalSettings
from tawtin.ports import EngineError


def check(settings: LocalSettings) -> None:
    """Raise EngineError if these settings would show runs what is private."""
    root = os.path.realpath(settings.root)
    if not os.path.isabs(settings.root):
        raise EngineError(f"the runs' folder `{settings.root}` must be an absolute path")
    if settings.ports_first > settings.ports_last:
        raise EngineError(
            f"`local.ports_first`, {settings.ports_first}, is above `local.ports_last`, {settings.ports_last}"
        )
    for path in settings.expose:
        if not os.path.isabs(path) or os.path.normpath(path) != path or path == "/":
            raise EngineError(
                f"the exposed path `{path}` must be absolute, without `..` or a slash at its end, and not `/`"
            )
        real = os.path.realpath(path)
        for private in (root, *(os.path.realpath(one) for one in settings.private)):
            if os.path.commonpath([real, private]) in {real, private}:
                raise EngineError(
                    f"the exposed path `{path}` and the private path `{private}` overlap; move one of them"
                )
    for private in (root, *(os.path.realpath(one) for one in settings.private)):
        if private == "/usr" or private.startswith("/usr/"):
            raise EngineError(f"`{private}` lies in /usr, which every run sees; choose another place")


def limit_notes(*, box_missing: str, groups: bool, limits: str) -> list[str]:
    """What an operator should know of how limits are kept here."""
    notes: list[str] = []
    if box_missing:
        notes.append(
            f"NO SANDBOX: {box_missing}. Runs see this machine's files and network; only the owner's work may run"
        )
    if groups:
        notes.append(f"memory, processor and process limits are kept by {limits}")
    else:
        notes.append(
            f"memory is watched every 250 ms and processors are not limited, because {limits}; "
            "processes are limited for each user id"
        )
    notes.append(
        "disk is counted every 500 ms or more; a run can exceed its limit by what it writes in between"
    )
    notes.append(
        "runs that ask for the network share this machine's: its own addresses included; bytes are not counted"
    )
    return notes
