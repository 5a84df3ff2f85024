"""The options of sbatch as data: short names, flags, and those that are refused, each with its reason."""

from __future__ import annotations

from typing import Final

LONG: Final = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint", "c": "cpus-per-task",
    "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "h": "help",
    "I": "immediate",
    "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution", "N": "nodes",
    "n": "ntasks", "O": "overcommit", "o": "output", "p": "partition", "q": "qos", "Q": "quiet", "S": "core-spec",
    "s": "oversubscribe", "t": "time", "v": "verbose", "W": "wait", "w": "nodelist", "x": "exclude",
}  # fmt: skip
"""One letter -> long name."""

FLAGS: Final = frozenset(
    "contiguous exclusive get-user-env help hold ignore-pbs immediate kill-on-invalid-dep no-kill no-requeue "
    "overcommit oversubscribe parsable quiet reboot requeue spread-job test-only use-min-nodes verbose wait".split()
)
"""Options that stand without a value, or may."""

_LOG: Final = "output goes to the log, which `tawtin logs` shows; nothing is written to {value}"
IGNORED: Final = {
    "output": _LOG,
    "error": _LOG,
    "open-mode": "logs are kept run by run; `open-mode` {value} changes nothing",
    "verbose": "`verbose` changes nothing here",
    "quiet": "`quiet` changes nothing here",
    "parsable": "`parsable` changes nothing here; `tawtin run --json` prints what a program can read",
}
"""Options that are taken with a warning: logs are always kept."""

_MAIL: Final = "no mail is sent; follow the work with `tawtin ps` or `tawtin logs`"
_PART: Final = "a factory is not divided by names; remove it, and say what you need with `gres` and `mem`"
_MACHINE: Final = "machines are not chosen by name; remove it"
_LAYOUT: Final = "how tasks lie on processors is not said; remove it, and ask for `cpus-per-task`"
_WAIT: Final = "work starts as soon as there is place for it; remove it, and submit when it may start"
_SHARE: Final = (
    "processors, memory and GPUs of a run are always its own; ask for as much as you need, and remove it"
)

REFUSED: Final[dict[str, str]] = {
    "partition": _PART,
    "qos": "there are no classes of service; write a YAML spec, which has `priority`",
    "account": "who pays is told by the key that submits; remove it",
    "wckey": "remove it, or write a YAML spec, which has `project`",
    "reservation": "there are no reservations by name; remove it",
    "clusters": "a script goes to the factory that it is sent to; remove it",
    "cluster-constraint": "a script goes to the factory that it is sent to; remove it",
    "mail-type": _MAIL,
    "mail-user": _MAIL,
    "dependency": "there are no dependencies between workloads; submit the next when the first is done",
    "kill-on-invalid-dep": "there are no dependencies between workloads; remove it",
    "constraint": "nodes have no features by name; say a GPU model with `gres=gpu:H100:1`",
    "prefer": "nodes have no features by name; say a GPU model with `gres=gpu:H100:1`",
    "nodelist": _MACHINE,
    "nodefile": _MACHINE,
    "exclude": _MACHINE,
    "exclusive": _SHARE,
    "oversubscribe": _SHARE,
    "overcommit": _SHARE,
    "begin": _WAIT,
    "hold": _WAIT,
    "immediate": "work waits until there is place for it; remove it",
    "deadline": "there are no deadlines; limit the time with `time`",
    "time-min": "a run is not shortened to fit; say `time`",
    "nice": "write a YAML spec, which has `priority` from -1000 to 1000",
    "priority": "Slurm's scale is another; write a YAML spec, which has `priority` from -1000 to 1000",
    "no-requeue": (
        "a run that was preempted or lost its node is always started again; write a YAML spec with "
        "`preemptible: false` so that it is not preempted"
    ),
    "licenses": "there are no licences to count; remove it",
    "input": "a run has no standard input; read a file of the folder given with `chdir`",
    "get-user-env": "no login environment is read; name variables with `export=A=1,B=2`",
    "export-file": "name variables with `export=A=1,B=2`",
    "uid": "who runs the work is told by the key that submits; remove it",
    "gid": "who runs the work is told by the key that submits; remove it",
    "wait": "write `tawtin run`, which follows the work until it ends",
    "wrap": "this is a script already; remove it",
    "mincpus": "say `cpus-per-task`",
    "ntasks-per-core": _LAYOUT,
    "ntasks-per-socket": _LAYOUT,
    "ntasks-per-gpu": "say `ntasks-per-node`",
    "cores-per-socket": _LAYOUT,
    "sockets-per-node": _LAYOUT,
    "threads-per-core": _LAYOUT,
    "extra-node-info": _LAYOUT,
    "core-spec": _LAYOUT,
    "thread-spec": _LAYOUT,
    "hint": _LAYOUT,
    "distribution": _LAYOUT,
    "mem-bind": _LAYOUT,
    "gpu-bind": _LAYOUT,
    "gres-flags": _LAYOUT,
    "gpus-per-socket": "say `gpus-per-node`",
    "gpu-freq": "the clocks of GPUs are the operator's; remove it",
    "cpu-freq": "the clocks of processors are the operator's; remove it",
    "power": "power is the operator's; remove it",
    "switches": "nodes are not chosen by switch; remove it",
    "network": "write a YAML spec, which has `network: true`",
    "contiguous": _MACHINE,
    "spread-job": _MACHINE,
    "use-min-nodes": _MACHINE,
    "no-kill": "a run whose node is lost is started again whole; remove it",
    "reboot": "nodes are the operator's; remove it",
    "propagate": "limits are the factory's; remove it",
    "profile": "usage is always measured; see `tawtin usage`",
    "acctg-freq": "usage is always measured; see `tawtin usage`",
    "bb": "there are no burst buffers; remove it",
    "bbf": "there are no burst buffers; remove it",
    "container": "runs see the factory's own system, not an image; remove it",
    "container-image": "runs see the factory's own system, not an image; remove it",
    "delay-boot": "nodes are the operator's; remove it",
    "mcs-label": "write a YAML spec, which has `data.class`",
    "test-only": "write `tawtin run --dry-run`",
    "ignore-pbs": "only `#SBATCH` lines are read; remove it",
    "help": "it asks for help, not for work; remove it",
}
"""Long name -> why it has no meaning here, and what to do instead."""
