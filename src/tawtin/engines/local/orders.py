"""What the control plane hands to a supervisor: one resolved plan a run, as plain JSON.

All policy is decided before: the supervisor only carries out. The standard library alone, as supervisors import it.
"""

from __future__ import annotations

from typing import Final, TypedDict

STATE: Final = "state.json"
"""Who supervises (pid, start ticks, boot id, the same of the sandbox, which group), since when, usage so far."""
STOP: Final = "stop.json"
FUSE: Final = "fuse.json"
"""A later deadline of the run's lease: `until_ms` of CLOCK_BOOTTIME, in the boot that `boot` names."""
SAMPLES: Final = "samples"
"""How much the run used over its time."""
EXIT: Final = "exit.json"
"""The exit record; its presence means that the program is over."""
LOG_PREFIX: Final = "log."


class Limits(TypedDict):
    """What a run may use. Zero means no limit."""

    memory_bytes: int
    cpus_milli: int
    processes: int
    open_files: int
    disk_bytes: int


class SetupCache(TypedDict):
    """Where the result of `setup` is kept for later runs of the same tenant."""

    folder: str
    """Of the tenant's caches."""
    key: str


class Plan(TypedDict):
    """Everything a supervisor needs."""

    run: str
    folder: str
    notify: str
    """Path of the control plane's datagram socket."""
    setup: list[str]
    """The command of the set-up step; empty for none."""
    command: list[str]
    """The command itself: sandbox, drop of rights, shell."""
    sandbox_args: list[str]
    """Options that the sandbox program reads from a descriptor instead of its command line."""
    seccomp: str
    """The compiled system call filter, hexadecimal; empty for none."""
    scripts: dict[str, str]
    """Path in the sandbox -> text of a file that is written there, readable by all. Empty without a sandbox."""
    env: dict[str, str]
    """The run's environment, secrets included. Never written to disk and in no command line."""
    mountpoints: list[list[str]]
    """[which of the run's own folders, path below it, `folder` or `file`] for each place inside them that something is
    mounted on. Made before each step, because as root the sandbox program would follow a link of the tenant's."""
    user: list[int]
    """[uid, gid] to become before the command, where no sandbox does it; empty to stay."""
    sandboxed: bool
    cgroup: dict[str, str]
    """Folder of each controller in which this run gets a group of its own; empty for none. Version 2 has the one key
    `unified`."""
    limits: Limits
    max_duration_ms: int
    """0 for none."""
    fuse_ms: int
    """When the lease is over, by CLOCK_BOOTTIME, unless a later time was written since; 0 for no lease."""
    stop_grace_ms: int
    checkpoint_signal: int
    """0 for none."""
    checkpoint_grace_ms: int
    gpus: int
    gpu_model: str
    gpu_ids: list[str]
    """UUIDs of real GPUs, to meter their energy."""
    gpus_declared: bool
    bytes_in: int
    meter_interval_ms: int
    disk_interval_ms: int
    samples_max: int
    sample_ms: int
    log_bytes_max: int
    log_bytes_per_s: int
    cache: SetupCache | None
    keep_files: bool
    """The working folder is needed after the end: outputs are collected from it."""


class StopAsk(TypedDict):
    """That a run is to end."""

    cause: str
    grace_ms: int


class Exit(TypedDict):
    """The exit record."""

    started_ms: int | None
    ended_ms: int
    cause: str
    exit_code: int | None
    message: str
    usage: UsageNow


class UsageNow(TypedDict):
    """Usage so far, in the units of `model.workload.Usage`."""

    wall_ms: int
    cpu_ms: int
    memory_peak_mib: int
    disk_peak_mib: int
    gpu_model: str
    gpu_ms: int
    gpus_declared: bool
    bytes_in: int
    bytes_out: int
    energy_mj: int | None
