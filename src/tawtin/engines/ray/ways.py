"""How Ray does what a run's scripts cannot do by themselves, and a guard for what it does not do at all."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from tawtin.engines.shared.scripts import Ways

GUARD: Final = """\
#!/bin/bash
# Beside a script of a run: ends everything that it started once that is asked for, and once Ray, or somebody else,
# has killed the script or what watched over it. In a session of its own, so that nobody kills it along with them.
# guard.sh SCRIPT WATCHER RANK: two process ids, and a rank's number for that rank's processes alone
here=@here@
end_all() { # what has a run's variables, also if it has left its session
    for each in /proc/[0-9]*; do
        grep -qzxF "TAWTIN_WORKDIR=$here/files/work" "$each/environ" || continue
        [ -z "$3" ] || grep -qzxF "NODE_RANK=$3" "$each/environ" || continue
        kill -KILL "${each#/proc/}"
    done
}
while sleep 0.5 && kill -0 "$1"; do
    if ! kill -0 "$2"; then
        kill -KILL "$1"
    elif [ -n "$3" ] && [ -e "$here/over" -o -e "$here/forbidden" ]; then
        end_all "$@"
    fi
done 2>/dev/null
end_all "$@" 2>/dev/null
[ -z "$3" ] || rm -f "$here/live.$3"
"""
_PROLOGUE: Final = '[ -e "$here/token" -o -L "$here/token" ] || exec >>"$here/output" 2>&1'
_BESIDE: Final = 'setsid --fork /bin/bash "$here/scripts/guard.sh" $$ $PPID "" </dev/null >/dev/null 2>&1'
_ONE: Final = '/bin/bash "$here/scripts/rank.sh"'
_MANY: Final = """\
echo go >&"$RANKS_GO"; exec {RANKS_GO}>&-
( trap '' TERM INT HUP USR1 USR2 QUIT; exec cat <&"$RANKS_SAY" ) & said=$!
while kill -0 $said 2>/dev/null; do
    wait $said
    [ $told = nothing ] || [ -e "$here/signal.1.TERM" ] || touch "$here/signal.1.TERM" # ranks are not ours to signal
done
read -r code <&"$RANKS_CODE" || {
    touch "$here/over" # who started the ranks is gone; they are to be gone as well before this is over
    for _ in {1..40}; do compgen -G "$here/live.*" >/dev/null || break; sleep 0.5; done
}
( exit "${code:-255}" )"""


def ways(addresses: Sequence[str], *, one: bool) -> Ways:
    """For a job of one rank, or of several by `ranks.py`, which started the script."""
    return Ways(
        prologue=_PROLOGUE,
        beside=_BESIDE,
        addresses=f"NODE_IPS={shlex.quote(chr(10).join(addresses))}",
        ranks=_ONE if one else _MANY,
        rank="${NODE_RANK:-0}",
        end_ranks=":" if one else 'touch "$here/over"',
        listens=True,
        keeps_path=True,
    )


def guard(folder: str) -> str:
    """The text of `guard.sh`; `folder` is where the run lives on every node."""
    return GUARD.replace("@here@", shlex.quote(folder))
