"""The scripts of a run, as a node of the cluster runs them: bash alone, nothing of ours has to be installed there.

`job.sh` is the batch script. It takes the start token (making a folder, which one process alone can, on network file
systems as well), runs `setup.sh`, then `rank.sh` on every node, and writes down how that ended before it ends itself.
`rank.sh` sets a rank's variables and its time limit, and runs the tenant's `run.sh`.
"""

from __future__ import annotations

import hashlib
import shlex
from typing import Final

from tawtin.engines.local.environ import PATH, run_env
from tawtin.engines.local.spawn import exports
from tawtin.engines.slurm.settings import SlurmSettings
from tawtin.ports import RunOrder

TOKEN: Final = "token"  # noqa: S105 - a name for a file
"""A folder: whoever makes it is the one who starts the run, or sees to it that it never starts."""
BEGAN: Final = "began"
"""When the job's script began, milliseconds UTC by the node's clock."""
EXIT: Final = "exit"
"""How it ended: exit code, when by the node's clock, which step, and whether it was told to end before: `asked` by us,
`term` by somebody else, or `nothing`."""
ASKED: Final = "asked"
"""It is to end: made before anything is signalled."""
FORBIDDEN: Final = "forbidden"
"""Nobody waits for it any more: its script ends it as soon as it sees this."""
OUTPUT: Final = "output"
DROPPED: Final = "dropped"
"""How many bytes of output there were beyond those that are kept."""
CPU: Final = "cpu."
"""`cpu.` and the rank: what the shell's `times` said at the end."""
FIRST: Final = "first"
"""A folder that the first rank makes which fails; its `code` is that of the run."""
LIMIT: Final = "limit."
"""`limit.` and the rank: it ran past its maximum duration."""
ENVIRONMENT: Final = "environment"
"""The variables, secrets included; readable by its owner alone, deleted when the job ends."""

_JOB: Final = """\
#!/bin/bash
# The batch script of run @run@.
here=@here@
export PATH=@path@
unset SLURM_TIME_FORMAT SLURM_EXPORT_ENV LC_ALL MAIL OLDPWD ENVIRONMENT
umask 077
mkdir "$here/@token@" 2>/dev/null || { echo 'this run was started before, or may not start any more' >&2; exit 0; }
now() { date +%s%3N; }
put() { cat >"$here/$1.new" && sync "$here/$1.new" && mv "$here/$1.new" "$here/$1"; }
end_below() { # everything below a process, but for these others
    local below=$1 child; shift
    for child in $(pgrep -P "$below"); do
        case " $* " in *" $child "*) ;; *) end_below "$child" "$@"; kill -KILL "$child";; esac
    done
}
finish() {
    exec >&- 2>&-
    rm -f "$here/@environment@"
    end_below $$ "$pen" "$watch"
    for _ in {1..100}; do kill -0 "$pen" || break; sleep 0.05; done
    [ -e "$here/@asked@" ] && told=asked
    echo "$1 $(now) $2 $told" | put @exit@
    kill -KILL "$watch"
    exit "$1"
}
told=nothing
trap 'told=term' TERM
trap : INT HUP USR1 USR2 PIPE
exec > >(trap '' TERM INT HUP USR1 USR2; stdbuf -o0 head -c @bytes_max@; wc -c >"$here/@dropped@") 2>&1
pen=$!
( trap '' TERM INT HUP USR1 USR2
  while sleep 1 && kill -0 $$; do
      [ -e "$here/@forbidden@" ] || continue
      touch "$here/@asked@"; @end_steps@; end_below $$ "$pen" $BASHPID
  done ) >/dev/null 2>&1 &
watch=$!
now | put @began@
NODE_IPS=
for name in $(scontrol show hostnames "$SLURM_JOB_NODELIST" 2>/dev/null || echo "$SLURM_JOB_NODELIST"); do
    address=$(scontrol --oneliner show node "$name" 2>/dev/null | grep -o ' NodeAddr=[^ ]*' | cut -d= -f2)
    address=$(getent ahostsv4 "${address:-$name}" | awk 'NR == 1 { print $1 }')
    NODE_IPS="$NODE_IPS${NODE_IPS:+
}${address:-$name}"
done
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
rank=${SLURM_PROCID:-0}
export NODE_RANK=$rank SKYPILOT_NODE_RANK=$rank
cd "$TAWTIN_WORKDIR" || exit 1
began=$SECONDS
@bounded@
code=$?
[ $code = 0 ] || { mkdir "$here/@first@" 2>/dev/null && echo $code >"$here/@first@/code"; }
times >"$here/@cpu@$rank"
if [ @limit_ms@ != 0 ] && [ $((SECONDS - began)) -ge @limit_s@ ]; then
    case $code in 124|137|143) touch "$here/@limit@$rank";; esac
fi
exit $code
"""


def port_of(run: str) -> int:
    """The port at which the ranks of a gang meet: from the run's name, so that gangs of one node rarely share one."""
    return 20_000 + int.from_bytes(hashlib.sha256(run.encode()).digest()[:4]) % 20_000


def environment(order: RunOrder, folder: str) -> dict[str, str]:
    """What every rank sees, but for what Slurm itself sets."""
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


def scripts(order: RunOrder, settings: SlurmSettings, folder: str) -> dict[str, str]:
    """All scripts by name; `folder` is where the run lives on every node."""
    spec = order.spec
    limit_ms = spec.max_duration_ms or 0
    grace_s = max(1, spec.stop_grace_ms // 1000)
    bound = f"timeout --signal=TERM --kill-after={grace_s} {limit_ms / 1000:g} " if limit_ms else ""
    shell = "/bin/bash -eo pipefail"
    one = '/bin/bash "$here/scripts/rank.sh"'
    many = (
        "srun --kill-on-bad-exit=1 --wait=0 --input=none --export=ALL --ntasks-per-node=1 "
        f'--nodes={len(order.slots)} --ntasks={len(order.slots)} --cpus-per-task="$SLURM_CPUS_PER_TASK" {one}'
    )
    words = {
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
        "bytes_max": str(settings.log_bytes_max),
        "path": shlex.quote(f"{settings.programs}:{PATH}" if settings.programs else PATH),
        "limit_ms": str(limit_ms),
        "limit_s": str(limit_ms // 1000),
        "bounded": f'{bound}{shell} "$here/scripts/run.sh" </dev/null',
        "bounded_setup": f'( . "$here/{ENVIRONMENT}"; cd "$TAWTIN_WORKDIR" && '
        f'{bound}{shell} "$here/scripts/setup.sh" </dev/null )',
        "end_steps": ":" if len(order.slots) == 1 else 'scancel --signal=KILL "$SLURM_JOB_ID.0"',
        "ranks": one if len(order.slots) == 1 else many,
    }
    texts = {"job.sh": _filled(_JOB, words), "rank.sh": _filled(_RANK, words), "run.sh": spec.run}
    if spec.setup:
        texts["setup.sh"] = spec.setup
    return texts


def _filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    return text


def environment_file(order: RunOrder, folder: str) -> str:
    """The text of `environment`."""
    return exports(environment(order, folder)) + "\n"
