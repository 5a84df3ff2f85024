"""How pods do what a run's scripts cannot do by themselves.

Every rank is a pod, and they meet in the run's folder. Each writes down its address; once all have, that of rank 0
starts `job.sh`, which takes the start token and makes a file `go`; the others run their ranks then. The first rank that
fails, or an end of the run, has all others end. What a pod is told by Kubernetes, it tells everything below it.
"""

from __future__ import annotations

import shlex
from typing import Final

from tawtin.engines.shared.scripts import ENVIRONMENT, EXIT, FORBIDDEN, OUTPUT, TOKEN, Ways
from tawtin.ports import RunOrder

SCRIPT: Final = "pod.sh"
"""What a pod runs, of whatever rank."""

_POD: Final = r"""#!/bin/bash
# A pod of a run. Its own word is the code that it ends with.
here=@here@
rank=${JOB_COMPLETION_INDEX:-0}
umask 077
for need in cat date head mkdir pgrep seq stdbuf timeout truncate wc; do
    command -v "$need" >/dev/null && continue
    echo "the image has no \`$need\`: it needs bash, coreutils and procps"; exit 127
done
[ -w "$here" ] || { echo "user $(id -u) cannot write $here: see \`uid\` and \`volume\` of the engine"; exit 126; }
below() { # everything below a process, parents first: a shell has to know before its child is gone
    local child
    for child in $(pgrep -P "$1"); do echo "$child"; below "$child"; done
}
trap 'kill -TERM $(below $$) 2>/dev/null' TERM
trap : INT HUP USR1 USR2
started() { [ -e "$here/@token@" ] || [ -L "$here/@token@" ] || [ -e "$here/@exit@" ]; }
waits() { ! started && [ ! -e "$here/@forbidden@" ]; }
if [ "$rank" = 0 ]; then
    while waits && [ "$(ls "$here" | grep -c '^address\.')" -lt @others@ ]; do sleep 0.1; done
    /bin/bash "$here/scripts/job.sh" >>"$here/@output@" 2>&1 </dev/null &
else
    mkdir "$here/@token@.$rank" 2>/dev/null || exit 0
    echo "$POD_IP" >"$here/new.$rank" && mv "$here/new.$rank" "$here/address.$rank"
    /bin/bash "$here/scripts/follow.sh" </dev/null &
fi
child=$!
while :; do
    wait "$child"
    code=$?
    kill -0 "$child" 2>/dev/null || break
done
exit "$code"
"""

_FOLLOW: Final = r"""#!/bin/bash
# A rank of a gang, but the first: it waits until that lets it go, and ends when that has ended.
here=@here@
rank=$JOB_COMPLETION_INDEX
umask 077
over() { [ -e "$here/@exit@" ] || [ -e "$here/ended" ] || [ -e "$here/@forbidden@" ] || [ -L "$here/@token@" ]; }
end_below() { # everything below a process, but for one
    local below=$1 child
    for child in $(pgrep -P "$below"); do
        [ "$child" = "$2" ] || { end_below "$child" "$2"; kill -KILL "$child" 2>/dev/null; }
    done
}
told=
trap 'told=term' TERM
trap : INT HUP USR1 USR2 PIPE
until [ -e "$here/go" ] || over || [ -n "$told" ]; do sleep 0.1; done
[ -e "$here/go" ] && ! over && [ -z "$told" ] || exit 0
exec > >(trap '' TERM INT HUP USR1 USR2; exec stdbuf -o0 head -c @bytes_max@ >>"$here/@output@") 2>&1
pen=$!
export NODE_IPS="$(cat "$here/addresses")"
export SKYPILOT_NODE_IPS="$NODE_IPS" MASTER_ADDR="${NODE_IPS%%
*}"
/bin/bash "$here/scripts/rank.sh" &
own=$!
while kill -0 "$own" 2>/dev/null; do
    over && { sleep 0.2; end_below $$ "$pen"; }
    sleep 0.2
done
wait "$own"
echo $? >"$here/new.$rank" && mv "$here/new.$rank" "$here/end.$rank"
exec >&- 2>&-
for _ in {1..100}; do kill -0 "$pen" 2>/dev/null || break; sleep 0.05; done
until [ -e "$here/@exit@" ] || [ -n "$told" ]; do sleep 0.2; done
exit 0
"""

_RANKS: Final = r"""#!/bin/bash
# The first rank of a gang, and a look at the others: ends with the code of the one that failed first.
here=@here@
trap : TERM INT HUP USR1 USR2
end_below() {
    local below=$1 child
    for child in $(pgrep -P "$below"); do end_below "$child"; kill -KILL "$child" 2>/dev/null; done
}
: >"$here/go"
/bin/bash "$here/scripts/rank.sh" &
own=$! code=
while :; do
    [ -z "$code" ] && ! kill -0 "$own" 2>/dev/null && { wait "$own"; code=$?; }
    failed=${code:-0} ended=0
    for rank in $(seq @others@); do
        [ -s "$here/end.$rank" ] || continue
        ended=$((ended + 1))
        [ "$failed" = 0 ] && failed=$(cat "$here/end.$rank")
    done
    if [ "$failed" != 0 ]; then
        : >"$here/ended"
        end_below $$
        exit "$failed"
    fi
    [ -n "$code" ] && [ "$ended" = @others@ ] && exit 0
    sleep 0.2
done
"""

_ADDRESSES: Final = r"""NODE_IPS=$POD_IP
for rank in $(seq @others@); do
    NODE_IPS="$NODE_IPS
$(cat "$here/address.$rank" 2>/dev/null)"
done
echo "$NODE_IPS" >"$here/addresses" """


def ways(order: RunOrder) -> Ways:
    """For a run of one pod, or of several."""
    others = len(order.slots) - 1
    return Ways(
        addresses=_ADDRESSES.replace("@others@", str(others)),
        ranks='/bin/bash "$here/scripts/ranks.sh"' if others else '/bin/bash "$here/scripts/rank.sh"',
        rank="${JOB_COMPLETION_INDEX:-0}",
        end_ranks=': >"$here/ended"' if others else ":",
        listens=True,
    )


def scripts(order: RunOrder, folder: str, log_bytes_max: int) -> dict[str, str]:
    """What pods run beside the scripts that every engine has."""
    words = {
        "here": shlex.quote(folder),
        "others": str(len(order.slots) - 1),
        "bytes_max": str(log_bytes_max),
        "token": TOKEN,
        "exit": EXIT,
        "forbidden": FORBIDDEN,
        "output": OUTPUT,
        "environment": ENVIRONMENT,
    }
    texts = {SCRIPT: _POD}
    if len(order.slots) > 1:
        texts |= {"follow.sh": _FOLLOW, "ranks.sh": _RANKS}
    for name in texts:
        for word, value in words.items():
            texts[name] = texts[name].replace(f"@{word}@", value)
    return texts
