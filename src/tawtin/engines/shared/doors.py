"""How the program behind the one port of a workspace gets into its sandbox; it is `door.py`, which stands beside this.

The door alone listens at the port. It lets in who knows its token, and speaks with the app over a private socket, so
that no other run on the machine reaches the app.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT: Final = "door.sh"
_BEGIN: Final = """\
here=${BASH_SOURCE[0]%/*}
exec /usr/bin/python3 -I "$here/door.py" /bin/bash -eo pipefail "$here/run.sh"
"""


@cache
def _door() -> str:
    return Path(__file__).with_name("door.py").read_text(encoding="utf-8")


def scripts() -> dict[str, str]:
    """The scripts of a workspace beside its own, by name; `SCRIPT` is the first."""
    return {SCRIPT: _BEGIN, "door.py": _door()}


def environ(home: str, path: str, exposed: Iterable[str]) -> dict[str, str]:
    """What a workspace sees differently from a job: its working folder is its home, and exposed programs are found."""
    places = (f"{home}/.local/bin", *(f"{each}/bin" for each in exposed))
    return {"HOME": home, "PATH": ":".join((*places, path)), "TERM": "xterm-256color"}
