"""A spec as it is written: the record behind YAML, JSON and Python. What goes over the wire is this record as JSON.

In Python:

    Job(name="train", resources=Resources(accelerators="H100:8"), run="python train.py").parse()
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from tawtin.model.base import Record
from tawtin.model.workload import WorkloadSpec

Amount = str | int | float | None
"""A quantity as people write it: `4`, `"4+"`, `"16GB"`."""


class Alternative(Record, frozen=True, kw_only=True):
    """One of several sets of resources; what it leaves out comes from the resources around it."""

    accelerators: str | dict[str, int | None] | list[str] | None = None
    cpus: Amount = None
    memory: Amount = None
    disk_size: Amount = None
    use_spot: bool | None = None


class Resources(Record, frozen=True, kw_only=True):
    """What each node of a run gets."""

    accelerators: str | dict[str, int | None] | list[str] | None = None
    """`H100:8`, `H100:1..4`, `{H100: 1, A100: 2}` or `[A100:1, H100:1]`; the first is preferred."""
    cpus: Amount = None
    memory: Amount = None
    disk_size: Amount = None
    use_spot: bool | None = None
    ports: int | str | None = None
    """Where the program of a service listens; only one."""
    job_recovery: str | None = None
    priority: int | None = None
    labels: dict[str, str] = {}
    any_of: list[Alternative] = []
    ordered: list[Alternative] = []


class OutputPath(Record, frozen=True, kw_only=True):
    """A file or folder, relative to the working folder, kept under a name."""

    name: str
    path: str


class DataUse(Record, frozen=True, kw_only=True):
    """What the residency rules need to know about the data."""

    data_class: str = msgspec.field(name="class", default="public")
    origin: str = ""
    purpose: str = ""
    datasets: list[str] = []


class Places(Record, frozen=True, kw_only=True):
    """Countries, ISO 3166-1 alpha-2."""

    allow: list[str] = []
    deny: list[str] = []


class Save(Record, frozen=True, kw_only=True):
    """The signal that tells a run to save itself, and how long it may take."""

    signal: str = "SIGUSR1"
    grace: str | int | None = None


class Probing(Record, frozen=True, kw_only=True):
    """How a replica of a service is asked whether it is ready."""

    path: str
    initial_delay_seconds: str | int | float | None = None
    timeout_seconds: str | int | float | None = None
    post_data: str = ""


class ReplicaPolicy(Record, frozen=True, kw_only=True):
    """How many replicas a service has, by its load."""

    min_replicas: int
    max_replicas: int | None = None
    target_qps_per_replica: str | int | float | None = None
    target_in_flight_per_replica: str | int | float | None = None
    target_tokens_per_second_per_replica: str | int | float | None = None
    target_wait_seconds: str | int | float | None = None
    upscale_delay_seconds: str | int | float | None = None
    downscale_delay_seconds: str | int | float | None = None


class Service(Record, frozen=True, kw_only=True):
    """What makes a workload a service."""

    readiness_probe: Probing | None = None
    replicas: int | None = None
    """1 without it."""
    replica_policy: ReplicaPolicy | None = None
    port: int | str | None = None


class WorkspaceUse(Record, frozen=True, kw_only=True):
    """What makes a workload a workspace."""

    app: str | None = None
    """`jupyterlab` without it, if there is no `run`."""
    idle: str | int | None = None
    """After so long without use it rests; an hour without it, never with 0."""


class Job(Record, frozen=True, kw_only=True):
    """A spec. Fields mean what `docs/reference/spec.md` says of the same names."""

    name: str | None = None
    type: str | None = None
    """`job` without it, or `service` or `workspace` if there is one."""
    run: str = ""
    setup: str = ""
    envs: dict[str, str | None] = {}
    secrets: dict[str, str | None] = {}
    workdir: str = ""
    file_mounts: dict[str, str] = {}
    outputs: list[OutputPath] = []
    resources: Resources = Resources()
    service: Service | None = None
    workspace: WorkspaceUse | None = None
    port: int | None = None
    num_nodes: int = 1
    array: int | str | list[int] | None = None
    max_duration: str | int | None = None
    stop_grace: str | int | None = None
    checkpoint: Save | None = None
    priority: int | None = None
    preemptible: bool | None = None
    network: bool | None = None
    on_partition: str = "wait"
    data: DataUse = DataUse()
    residency: Places = Places()
    budget: str | None = None
    project: str = ""
    labels: dict[str, str] = {}

    def __repr__(self) -> str:
        """Without secret values."""
        return f"Job(name={self.name!r}, type={self.type!r}, secrets={sorted(self.secrets)!r}, ...)"

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as it would stand in a YAML file, secret values included."""
        return cast("dict[str, Any]", msgspec.to_builtins(self))

    def to_json(self) -> bytes:
        """Return the body of a submission, secret values included."""
        return msgspec.json.encode(self)

    def parse(self) -> Parsed:
        """Check it as a file would be checked. Raises SpecError."""
        from tawtin.spec.parse import parse_job  # noqa: PLC0415 - parse builds on this record

        return parse_job(self)


class Parsed(Record, frozen=True, kw_only=True):
    """A spec that was understood."""

    spec: WorkloadSpec
    job: Job
    """The same as written, overrides applied; its JSON is what a client sends."""
    array_size: int | None = None
    array: tuple[int, ...] = ()
    """The indices of the array's members; empty for `0` to `array_size - 1`."""
    workdir_local: str | None = None
    """A folder that the client must upload before it sends the spec."""
    mounts_local: tuple[tuple[str, str], ...] = ()
    """(path inside the sandbox, local path) that the client must upload."""
    secret_values: dict[str, str] = {}
    budget_currency: str = ""
    """ISO 4217 code of `spec.budget_minor`; empty without a budget."""
    warnings: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    """Every key of the file, dotted, in the order it was read; empty for JSON and Python."""
    file: str = ""
    marks: dict[str, tuple[int, int]] = {}
    """Where the names of datasets stand in the file, (line, column) by dotted field: only a factory knows them."""

    def __repr__(self) -> str:
        """Without secret values."""
        return (
            f"Parsed(spec={self.spec!r}, secrets={sorted(self.secret_values)!r}, warnings={self.warnings!r})"
        )

    def body(self, *, workdir: str = "", mounts: dict[str, str] | None = None) -> bytes:
        """Return the JSON to submit, local paths replaced by artifacts (`sha256:...`).

        `workdir` is the artifact of `workdir_local`; `mounts` has one for each path of `mounts_local`.
        """
        replaced = {**self.job.file_mounts, **(mounts or {})}
        return msgspec.structs.replace(
            self.job, workdir=workdir or self.job.workdir, file_mounts=replaced
        ).to_json()
