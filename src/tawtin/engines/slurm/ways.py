"""How Slurm does what a run's scripts cannot do by themselves."""

from __future__ import annotations

from typing import Final

from tawtin.engines.shared.scripts import Ways
from tawtin.engines.slurm.settings import SlurmSettings
from tawtin.ports import RunOrder

_PROLOGUE: Final = "unset SLURM_TIME_FORMAT SLURM_EXPORT_ENV LC_ALL MAIL OLDPWD ENVIRONMENT"
_ADDRESSES: Final = """\
NODE_IPS=
for name in $(scontrol show hostnames "$SLURM_JOB_NODELIST" 2>/dev/null || echo "$SLURM_JOB_NODELIST"); do
    address=$(scontrol --oneliner show node "$name" 2>/dev/null | grep -o ' NodeAddr=[^ ]*' | cut -d= -f2)
    address=$(getent ahostsv4 "${address:-$name}" | awk 'NR == 1 { print $1 }')
    NODE_IPS="$NODE_IPS${NODE_IPS:+
}${address:-$name}"
done"""
_ONE: Final = '( . "$here/scripts/rank.sh" )'
_MANY: Final = (
    "srun --kill-on-bad-exit=1 --wait=0 --input=none --export=ALL --ntasks-per-node=1 "
    '--nodes={count} --ntasks={count} --cpus-per-task="$SLURM_CPUS_PER_TASK" '
    '/bin/bash "$here/scripts/rank.sh"'
)


def ways(order: RunOrder, settings: SlurmSettings) -> Ways:
    """For a job of one node, or of several by `srun`."""
    count = len(order.slots)
    return Ways(
        prologue=_PROLOGUE,
        job="$SLURM_JOB_ID",
        addresses="NODE_IPS=127.0.0.1" if count == 1 else _ADDRESSES,
        ranks=_ONE if count == 1 else _MANY.format(count=count),
        rank="${SLURM_PROCID:-0}",
        end_ranks=":" if count == 1 else 'scancel --signal=KILL "$SLURM_JOB_ID.0"',
        path=settings.programs,
    )
