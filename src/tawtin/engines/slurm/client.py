"""Slurm by its command line, from 22.05 on: what is asked of it, and what it answers, as records.

Every call is one program with a time limit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Final

from tawtin.engines.shared.cluster import ClusterDownError, ClusterRefusedError
from tawtin.engines.shared.inventory import Amount
from tawtin.engines.slurm.settings import SlurmSettings
from tawtin.model.base import Record

PROGRAMS: Final = ("sbatch", "scancel", "scontrol", "squeue")
_DOWN: Final = re.compile(
    "unable to contact|connection refused|timed out|communication|socket|controller|slurm backup|i/o error"
    "|connection reset|zero bytes|protocol authentication|munge|invalid authentication",
    re.IGNORECASE,
)
_IDS_MAX: Final = 500
"""Job ids in one call."""
_SAID_MAX: Final = 500


class SlurmJob(Record, frozen=True, kw_only=True):
    """A job as Slurm has it now."""

    id: int
    state: str
    """Such as PENDING, RUNNING, COMPLETED, NODE_FAIL."""
    reason: str = ""
    started_s: int = 0
    """Seconds UTC; 0 if it has not started."""
    comment: str = ""


class Machine(Record, frozen=True, kw_only=True):
    """A node as Slurm has it now."""

    name: str
    states: tuple[str, ...]
    """Such as IDLE, MIXED, ALLOCATED, and flags: DRAIN, NOT_RESPONDING, DOWN."""
    partitions: tuple[str, ...] = ()
    gpu_model: str = ""
    total: Amount = Amount()
    taken: Amount = Amount()


class Partition(Record, frozen=True, kw_only=True):
    """A partition: where jobs may be sent."""

    name: str
    default: bool = False
    up: bool = True
    minutes_max: int | None = None


class Slurm:
    """One cluster."""

    def __init__(self, settings: SlurmSettings) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        # jobs inherit what sbatch has: nothing of this process, whose environment may hold secrets
        self._environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "USER") if name in os.environ
        }
        self._environment |= {"LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s"}
        conf = settings.conf or os.environ.get("SLURM_CONF", "")
        if conf:
            self._environment["SLURM_CONF"] = conf

    def program(self, name: str) -> str | None:
        """Where one of Slurm's programs is."""
        return shutil.which(name, path=self._settings.programs or None)

    def call(self, name: str, *words: str) -> str:
        """What a program prints. Raises ClusterDownError, ClusterRefusedError."""
        path = self.program(name)
        if path is None:
            raise ClusterDownError(f"`{name}` is not installed here (Debian: slurm-client)")
        try:
            done = subprocess.run(
                [path, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=self._environment,
                timeout=self._settings.call_ms_max / 1000,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ClusterDownError(f"{name}: no answer within {self._settings.call_ms_max} ms") from None
        except OSError as error:
            raise ClusterDownError(f"{name}: {error}") from None
        if done.returncode == 0:
            return done.stdout
        said = " ".join(done.stderr.split())[:_SAID_MAX] or f"exit code {done.returncode}"
        if done.returncode < 0 or _DOWN.search(said):
            raise ClusterDownError(said)
        raise ClusterRefusedError(said)

    # --- asking ------------------------------------------------------------------------------------------------------

    def machines(self) -> tuple[Machine, ...]:
        """All nodes, by name."""
        text = self.call("scontrol", "--oneliner", "show", "nodes")
        found = (machine_of(line) for line in text.splitlines() if line.startswith("NodeName="))
        return tuple(sorted(found, key=lambda machine: machine.name))

    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, in the cluster's order."""
        text = self.call("scontrol", "--oneliner", "show", "partitions")
        return tuple(partition_of(line) for line in text.splitlines() if line.startswith("PartitionName="))

    def jobs(self) -> tuple[SlurmJob, ...]:
        """This user's jobs, those that ended a moment ago included."""
        text = self.call(
            "squeue", "--noheader", "--states=all", f"--user={os.geteuid()}", "--format=%A|%T|%S|%r|%k"
        )
        found: list[SlurmJob] = []
        for line in text.splitlines():
            fields = line.split("|", 4)
            if len(fields) == 5 and fields[0].isdecimal():
                found.append(
                    SlurmJob(
                        id=int(fields[0]),
                        state=fields[1].partition(" ")[0],
                        started_s=_whole(fields[2]),
                        reason=fields[3],
                        comment=fields[4].strip(),
                    )
                )
        return tuple(found)

    # --- telling -----------------------------------------------------------------------------------------------------

    def submit(self, words: Sequence[str], script: str) -> int:
        """Submit the script at this path; return the id of the job."""
        said = self.call("sbatch", "--parsable", *words, script)
        number = said.strip().partition(";")[0]
        if not number.isdecimal():
            raise ClusterDownError(f"sbatch answered `{said.strip()[:80]}`, which names no job")
        return int(number)

    def signal(self, job: int, name: str, *, everyone: bool) -> None:
        """Send a signal to the job's steps, or to its script and `everyone` below it."""
        self.call("scancel", f"--signal={name}", *(["--full"] if everyone else []), str(job))

    def cancel(self, ids: Iterable[int]) -> None:
        """End jobs, whether they have started or not."""
        for part in _parts(ids):
            self.call("scancel", *part.split(","))


def _parts(ids: Iterable[int]) -> list[str]:
    known = sorted(set(ids))
    return [",".join(map(str, known[at : at + _IDS_MAX])) for at in range(0, len(known), _IDS_MAX)]


def _whole(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match.group()) if match else 0


_PAIR: Final = re.compile(r"(?:^|\s)([A-Z][A-Za-z_:/]*)=(\S*)")


def machine_of(line: str) -> Machine:
    """A node from its line of `scontrol --oneliner show nodes`."""
    pairs = dict(_PAIR.findall(line.partition(" Reason=")[0]))
    model, gpus = gpus_of(pairs.get("Gres", ""))
    taken = dict(each.partition("=")[::2] for each in pairs.get("AllocTRES", "").split(",") if "=" in each)
    return Machine(
        name=pairs["NodeName"],
        states=tuple(re.split(r"[+*~#!%$@^-]+", pairs.get("State", "UNKNOWN").strip("*~#!%$@^-")))
        + (("NOT_RESPONDING",) if "*" in pairs.get("State", "") else ()),
        partitions=tuple(filter(None, pairs.get("Partitions", "").split(","))),
        gpu_model=model,
        total=Amount(
            cpus_milli=1000 * (_whole(pairs.get("CPUEfctv", "")) or _whole(pairs.get("CPUTot", ""))),
            memory_mib=_whole(pairs.get("RealMemory", "")),
            gpus=gpus,
        ),
        taken=Amount(
            cpus_milli=1000 * _whole(pairs.get("CPUAlloc", "")),
            memory_mib=_whole(pairs.get("AllocMem", "")),
            gpus=_whole(taken.get("gres/gpu", "")),
        ),
    )


def gpus_of(gres: str) -> tuple[str, int]:
    """Model and number of the GPUs in a node's `Gres`: of the model that it has most of, as a node has one here."""
    counts: dict[str, int] = {}
    for each in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = each.split(":")
        if name == "gpu" and rest:
            model = rest[0] if len(rest) > 1 or not rest[0].isdecimal() else ""
            count = _whole(rest[-1]) if rest[-1].isdecimal() else 1
            counts[model] = counts.get(model, 0) + count
    if not counts:
        return "", 0
    model = max(sorted(counts), key=lambda name: counts[name])
    return model, counts[model]


def partition_of(line: str) -> Partition:
    """A partition from its line of `scontrol --oneliner show partitions`."""
    pairs = dict(_PAIR.findall(line))
    return Partition(
        name=pairs["PartitionName"],
        default=pairs.get("Default") == "YES",
        up=pairs.get("State", "UP") == "UP",
        minutes_max=minutes_of(pairs.get("MaxTime", "")),
    )


def minutes_of(text: str) -> int | None:
    """Minutes, rounded down, of Slurm's `days-hours:minutes:seconds`; None for no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return int(text) if text.isdecimal() else None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes
