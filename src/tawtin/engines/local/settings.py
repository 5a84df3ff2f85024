"""What an operator can set about the local engine."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.model.health import HealthLimits

Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Port = Annotated[int, msgspec.Meta(ge=1024, le=65_535)]


class DeclaredGpus(Record, frozen=True, kw_only=True):
    """GPUs that are not there, declared for trying things out."""

    model: Annotated[str, msgspec.Meta(min_length=1)] = "H100"
    count: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    memory_mib: Natural = 0


class LocalSettings(Record, frozen=True, kw_only=True):
    """Settings of the local engine."""

    enabled: bool = True
    """Whether this machine runs work at all; a factory whose clusters do everything says no."""
    root: str = ""
    """Absolute path of the folder for runs, logs and caches, made with mode 0700; empty for `engine` below the data."""
    node: str = ""
    """Name of this machine as a node; empty for its host name."""
    sandbox: bool = True
    """Use bubblewrap where it works. Without it only the factory's owner may run work."""
    uid_base: Natural = 200_000
    """As root, a tenant's work runs under the user id `uid_base` plus the tenant's number."""
    expose: tuple[str, ...] = ()
    """Absolute paths that every run sees, read-only, at the same place: a Python environment, a CUDA installation."""
    private: tuple[str, ...] = ()
    """Absolute paths that no exposed path may contain: the factory's keys and its journal."""
    gpus_declared: tuple[DeclaredGpus, ...] = ()
    """GPUs to offer as if they were there. Everything then shows that they are declared."""
    gpus_real: bool = True
    """Look for GPUs through NVML."""
    health: HealthLimits = HealthLimits()
    """From when on a GPU counts as sick."""
    cpus_milli: Natural | None = None
    """Thousandths of processors to offer; None for what the machine has, less the reserve."""
    memory_mib: Natural | None = None
    """Memory to offer; None for what the machine has, less the reserve."""
    disk_mib: Natural | None = None
    """Disk to offer; None for what is free where `root` lies, less the reserve."""
    reserve_cpus_milli: Natural = 0
    """Processor kept for the factory itself."""
    reserve_memory_mib: Natural = 512
    """Memory kept for the factory itself."""
    reserve_disk_mib: Natural = 1024
    """Disk kept for the factory itself."""
    disk_limit_mib: Positive = 10_240
    """Disk that a run may fill if its spec does not say."""
    processes_max: Positive = 4096
    """Processes and threads that a run may have at one time."""
    open_files_max: Positive = 65_536
    """Files that one process of a run may have open."""
    cgroup: str = "tawtin"
    """Name of the control group under which each run gets its own; empty to use none."""
    ports_first: Port = 20_000
    """The first of the ports that replicas of services are given, on this machine's own network."""
    ports_last: Port = 20_999
    """The last of them."""
    log_bytes_max: Positive = 64 << 20
    """Output kept of one run: its first eighth, and the latest rest."""
    log_bytes_per_s: Natural = 16 << 20
    """Output taken from one run a second; a faster program waits. 0 for no limit."""
    meter_interval_ms: Positive = 5000
    """How often usage is written down while a run goes on."""
    disk_interval_ms: Positive = 500
    """How often a run's disk is counted; less often where counting takes long (5 % of one processor at most)."""
    samples_max: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 360
    """Looks at processor, memory and GPUs kept of one run; beyond that every second one is dropped. 0 for none."""
    sample_ms: Positive = 1000
    """Time between two such looks at first; it doubles each time that some are dropped."""
    setup_cache_mib: Natural = 20_480
    """Disk for the results of `setup` kept for later runs, of all tenants together; 0 to keep none."""
    retention_ms: Natural = 7 * 86_400_000
    """How long logs stay after the outcome was recorded."""
    retention_runs: Positive = 20_000
    """How many ended runs keep their logs at most."""
    rescan_ms: Positive = 2000
    """How often runs are looked at without having been told of news."""
