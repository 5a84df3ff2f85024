"""The scripts of a run, as a node runs them: bash alone, nothing of ours has to be installed there.

`job.sh` is the job. It takes the start token (making a file, which one process alone can, on network file systems as
well), runs `setup.sh`, has `rank.sh` run on every node, and writes down how that ended before it ends itself. `rank.sh`
sets a rank's variables and its time limit, and runs the tenant's `run.sh`. Where a cluster cannot send signals, every
rank looks for them in the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from dataclasses import dataclass
from typing import Final

from tawtin.engines.shared import durable
from tawtin.engines.shared.cluster import Given
from tawtin.engines.shared.environ import PATH, run_env
from tawtin.engines.shared.shell import exports
from tawtin.ports import RunOrder

TOKEN: Final = "token"  # noqa: S105 - a name for a file
"""Whoever makes it is the one who starts the run, by a file, or sees to it that it never starts, by a link."""
BEGAN: Final = "began"
"""When the job's script began, milliseconds UTC by the node's clock, and the id of its job if it knows that.

As `exit`, it is written by one call, and is all there if it ends in a newline."""
EXIT: Final = "exit"
"""How it ended: exit code, when by the node's clock, which step, and whether it was told to end before: `asked` by us,
`term` by somebody else, or `nothing`."""
ASKED: Final = "asked"
"""It is to end: made before anything is signalled."""
FORBIDDEN: Final = "forbidden"
"""Nobody waits for it any more: its script ends it as soon as it sees this."""
SIGNAL: Final = "signal."
"""`signal.`, a number from 1 up, and its name: what ranks are to be sent, for clusters that cannot."""
OUTPUT: Final = "output"
DROPPED: Final = "dropped"
"""How many bytes of output there were beyond those that are kept, less at most a pipe's."""
CPU: Final = "cpu."
"""`cpu.` and the rank: what the shell's `times` said at the end."""
FIRST: Final = "first"
"""A folder that the first rank makes which fails; its `code` is that of the run."""
LIMIT: Final = "limit."
"""`limit.` and the rank: it ran past its maximum duration."""
_WORD: Final = re.compile("@([a-z_]+)@")
ENVIRONMENT: Final = "environment"
"""The variables, secrets included; readable by its owner alone, deleted when the job ends."""

_JOB: Final = """\
#!/bin/bash
# The job of run @run@.
here=@here@
export PATH=@path@
@prologue@
umask 077
set -C # of all that would make this file, one does
{ : >"$here/@token@"; } 2>/dev/null || { echo 'this run was started before, or may not start any more' >&2; exit 0; }
set +C
now() { # milliseconds UTC, into `now`
    now=${EPOCHREALTIME/[.,]/}
    now=${now%???}
    : "${now:=$(date +%s%3N)}"
}
end_below() { # everything below a process, but for another
    local task child more children=()
    for task in /proc/"$1"/task/*; do
        more=()
        read -r -a more <"$task/children"
        children+=("${more[@]}")
    done
    [ -e /proc/$$/task/$$/children ] || children=($(pgrep -P "$1"))
    for child in "${children[@]}"; do
        [ "$child" = "$2" ] && continue
        end_below "$child" "$2"
        kill -KILL "$child"
    done
} 2>/dev/null
looking() { # what comes out of `tells`, into `said`; meanwhile, whether the job is to end
    local line
    said=
    while read -r -t 1 -u "$tells" line || [ $? -gt 128 ]; do
        said+=$line
        [ -e "$here/@forbidden@" ] || continue
        : >"$here/@asked@"; @end_steps@; end_below $$ $BASHPID
    done
}
pen() { # keeps the output, up to a limit, and counts what comes after that
    trap '' TERM INT HUP USR1 USR2 XFSZ
    exec {in}<&0
    exec {tells}< <(ulimit -f @kib_max@; exec cat <&"$in" 2>&1 >&"$out")
    looking
    [ -n "$said" ] || return # it did not say that the file is too large
    truncate -s '<@bytes_max@' "$here/@output@"
    exec {tells}< <(exec wc -c <&"$in")
    looking
    echo "$said" >"$here/@dropped@"
}
finish() {
    local until=$((SECONDS + 5))
    exec >&- 2>&-
    [ -e "$here/@environment@" ] && : >"$here/@environment@"
    end_below $$ "$pen"
    while [ $SECONDS -lt $until ] && { read -r -t 1 -u "$kept"; [ $? -gt 128 ]; }; do :; done
    [ -e "$here/@asked@" ] && told=asked
    now
    echo "$1 $now $2 $told" >"$here/@exit@"
    exit "$1"
}
told=nothing
trap 'told=term' TERM
trap : INT HUP USR1 USR2 PIPE
exec {out}>&1
coproc PEN { pen; } 2>/dev/null
pen=$PEN_PID kept=${PEN[0]}
exec >&"${PEN[1]}" 2>&1 {out}>&-
eval "exec ${PEN[1]}>&-"
@beside@
now
echo "$now @job@" >"$here/@began@"
@addresses@
export NODE_IPS SKYPILOT_NODE_IPS="$NODE_IPS" MASTER_ADDR="${NODE_IPS%%
*}"
if [ -e "$here/scripts/setup.sh" ]; then
    @bounded_setup@
    code=$?
    [ $code = 0 ] || finish $code setup
fi
@ranks@
code=$?
[ -s "$here/@first@/code" ] && code=$(cat "$here/@first@/code")
finish $code run
"""

_RANK: Final = """\
#!/bin/bash
# One rank of run @run@.
here=@here@
trap : TERM INT HUP USR1 USR2
. "$here/@environment@"
rank=@rank@
export NODE_RANK=$rank SKYPILOT_NODE_RANK=$rank
cd "$TAWTIN_WORKDIR" || exit 1
began=$SECONDS
@listen@
@bounded@
code=$?
@listened@
[ $code = 0 ] || { mkdir "$here/@first@" 2>/dev/null && echo $code >"$here/@first@/code"; }
times >"$here/@cpu@$rank"
if [ @limit_ms@ != 0 ] && [ $((SECONDS - began)) -ge @limit_s@ ]; then
    case $code in 124|137|143) : >"$here/@limit@$rank";; esac
fi
exit $code
"""


_LISTEN: Final = """\
below() { # everything below a process but for one, parents first: a shell has to know before its child is gone
    local child
    for child in $(pgrep -P "$1"); do
        [ "$child" = "$2" ] || { echo "$child"; below "$child" "$2"; }
    done
}
( trap '' TERM INT HUP USR1 USR2
  next=1
  while sleep 0.3 && kill -0 $$; do
      for each in "$here/signal.$next".*; do
          [ -e "$each" ] && { kill -"${each##*.}" $(below $$ $BASHPID); next=$((next + 1)); }
      done
  done ) >/dev/null 2>&1 &
ear=$!
disown $ear"""
_LISTENED: Final = "kill -KILL $ear"


def write_signal(folder: str, name: str) -> None:
    """Have all ranks of a run that listen sent this signal, such as `TERM`. Raises OSError."""
    number = 1 + sum(each.startswith(SIGNAL) for each in os.listdir(folder))
    durable.write_file(os.path.join(folder, f"{SIGNAL}{number}.{name}"), b"", sync=False)


def port_of(run: str) -> int:
    """The port at which the ranks of a gang meet: from the run's name, so that gangs of one node rarely share one."""
    return 20_000 + int.from_bytes(hashlib.sha256(run.encode()).digest()[:4]) % 20_000


def cpus_of(order: RunOrder) -> int:
    """Whole processors on each node: clusters give no parts."""
    return max(1, -(-order.shape.cpus_milli // 1000))


def environment(order: RunOrder, folder: str) -> dict[str, str]:
    """What every rank sees, but for what the cluster sets."""
    files = f"{folder}/files"
    home, work, temporary = (f"{files}/{name}" for name in ("home", "work", "tmp"))
    known = run_env(order, home=home, work=work, temporary=temporary, gpu_names=[])
    own = {
        name: value
        for name, value in known.items()
        if not name.startswith(("SLURM_", "CUDA_VISIBLE", "NODE_RANK", "NODE_IPS", "SKYPILOT_NODE_"))
        and name not in {"TERM", "SLURMD_NODENAME"}
    }
    return own | {"MASTER_PORT": str(port_of(order.run))}


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How a cluster does what its script cannot do by itself: pieces of shell."""

    prologue: str = ":"
    """At the start of a job, before anything."""
    beside: str = ":"
    """Once it is settled that this job is the one that starts."""
    addresses: str
    """Sets NODE_IPS: the nodes' addresses, a line each, rank 0 first."""
    job: str = ""
    """The id of its job, as the shell finds it."""
    ranks: str
    """Runs `$here/scripts/rank.sh` as every rank, and ends with the code of the one that failed first."""
    rank: str
    """A rank's number, as the shell finds it."""
    end_ranks: str = ":"
    """Kills what ranks on other nodes run."""
    listens: bool = False
    """Ranks look for signals in the folder."""
    path: str = ""
    """Folder that PATH begins with."""
    keeps_path: bool = False
    """PATH is what the cluster says."""


def scripts(order: RunOrder, ways: Ways, folder: str, log_bytes_max: int) -> dict[str, str]:
    """All scripts by name; `folder` is where the run lives on every node."""
    spec = order.spec
    limit_ms = spec.max_duration_ms or 0
    grace_s = max(1, spec.stop_grace_ms // 1000)
    bound = f"timeout --signal=TERM --kill-after={grace_s} {limit_ms / 1000:g} " if limit_ms else ""
    shell = "/bin/bash -eo pipefail"
    words = {
        "prologue": ways.prologue,
        "beside": ways.beside,
        "addresses": ways.addresses,
        "job": ways.job,
        "ranks": ways.ranks,
        "rank": ways.rank,
        "end_steps": ways.end_ranks,
        "listen": _LISTEN if ways.listens else ":",
        "listened": _LISTENED if ways.listens else ":",
        "run": order.run,
        "here": shlex.quote(folder),
        "token": TOKEN,
        "began": BEGAN,
        "exit": EXIT,
        "asked": ASKED,
        "forbidden": FORBIDDEN,
        "environment": ENVIRONMENT,
        "cpu": CPU,
        "limit": LIMIT,
        "first": FIRST,
        "dropped": DROPPED,
        "output": OUTPUT,
        "bytes_max": str(log_bytes_max),
        "kib_max": str(-(-log_bytes_max // 1024)),
        "path": '"$PATH"' if ways.keeps_path else shlex.quote(f"{ways.path}:{PATH}" if ways.path else PATH),
        "limit_ms": str(limit_ms),
        "limit_s": str(limit_ms // 1000),
        "bounded": f'{bound}{shell} "$here/scripts/run.sh" </dev/null',
        "bounded_setup": f'( . "$here/{ENVIRONMENT}"; cd "$TAWTIN_WORKDIR" && '
        f'{bound}{shell} "$here/scripts/setup.sh" </dev/null )',
    }
    texts = {"job.sh": _filled(_JOB, words), "rank.sh": _filled(_RANK, words), "run.sh": spec.run}
    if spec.setup:
        texts["setup.sh"] = spec.setup
    return texts


def _filled(text: str, words: dict[str, str]) -> str:
    return _WORD.sub(lambda match: words[match[1]], text)


def environment_file(order: RunOrder, folder: str, given: Given) -> str:
    """The text of `environment`."""
    known = environment(order, folder) | given.environment
    return exports({name: value for name, value in known.items() if name not in given.leaves}) + "\n"
