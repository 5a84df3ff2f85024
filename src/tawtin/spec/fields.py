"""The fields of a spec, and the fields of other systems that are refused, each with its reason.

This table is the one source of what is read, of the published JSON Schema and of the list in the docs.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

from tawtin.model.rules import DATA_CLASSES
from tawtin.spec.kinds import (
    Boolean,
    Choice,
    Field,
    Fields,
    Integer,
    Kind,
    ListOf,
    MapOf,
    OneOf,
    Quantity,
    Reading,
    Schema,
    Text,
)
from tawtin.spec.service import PORT, PORTS, SERVICE
from tawtin.spec.tree import Node
from tawtin.spec.workspace import WORKSPACE

ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./-]{0,126}[A-Za-z0-9])?")
SIGNALS: Final = ("SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCONT")

_PLACE: Final = (
    "a factory is one site and no cloud; remove it, and say which countries may run the work in `residency`"
)
_DISK: Final = "a factory has one kind of disk; remove it, and say the size in `disk_size`"
_GIVEN: Final = '`{key}` has no value; give it with `--env {key}=...`, or write `""` for an empty one'
_SECRET: Final = "`{key}` has no value; give it with `--secret {key}=...`"  # noqa: S105 - a sentence

REFUSED_RESOURCES: Final[dict[str, str]] = {
    "cloud": _PLACE,
    "infra": _PLACE,
    "region": _PLACE,
    "zone": _PLACE,
    "instance_type": "machines are not chosen by a cloud's names; say `accelerators`, `cpus` and `memory`",
    "image_id": "runs see the factory's own system, not an image; install what is needed in `setup`",
    "disk_tier": _DISK,
    "local_disk": _DISK,
    "volumes": "there are no volumes; mount artifacts with `file_mounts`, and keep results with `outputs`",
    "network_tier": "a factory has one network; remove it",
    "autostop": "nothing is left standing when `run` ends; remove it, and limit the time with `max_duration`",
    "accelerator_args": "it configures TPUs, and a factory has GPUs; remove it",
    "priority_class": "there are no classes; say `priority` as a number from -1000 to 1000",
    "max_hourly_cost": "prices are the factory's own; limit what is spent with `budget`",
    "gpu": "say it as `accelerators: H100:1`",
    "disk": "say it as `disk_size`",
    "_docker_login_config": "runs see the factory's own system, not an image; remove it",
    "_cluster_config_overrides": "there is no cluster to configure; remove it",
}
"""Of `resources`."""

REFUSED: Final[dict[str, str]] = {
    "pool": "workers are not kept standing; submit jobs, as many as there is work, with `array`",
    "config": "it configures clouds and clusters, and a factory is neither; remove it",
    "experimental": "it configures another system; remove it",
    "volumes": "there are no volumes; mount artifacts with `file_mounts`, and keep results with `outputs`",
    "volume_mounts": "there are no volumes; mount artifacts with `file_mounts`, and keep results with `outputs`",
    "storage": "there are no buckets; mount artifacts with `file_mounts`, and keep results with `outputs`",
    "inputs": "it estimates transfers between clouds; remove it, and mount data with `file_mounts`",
    "estimated": "it estimates transfers between clouds; remove it",
    "event_callback": "nothing is called on events; follow the work with `tawtin logs`",
    "managed_secrets": "name what is secret in `secrets`, and give values with `--secret`",
    "api_server_access": "a run has no access to the control plane; remove it",
    "file_mounts_mapping": "it is another system's own record of uploads; remove it",
    "execution": "files of several tasks are not run; submit one file for each",
    "depends_on": "there are no dependencies between workloads; submit the next when the first is done",
    "image": "runs see the factory's own system, not an image; install what is needed in `setup`",
    "image_id": "runs see the factory's own system, not an image; install what is needed in `setup`",
    "commands": "say it as `run`, one script",
    "env": "say it as `envs`, a mapping",
    "ports": "say `port`, as a service has one",
    "accelerators": "say it inside `resources`",
    "cpus": "say it inside `resources`",
    "memory": "say it inside `resources`",
    "use_spot": "say it inside `resources`, or say `preemptible`",
    "cloud": _PLACE,
    "infra": _PLACE,
    "region": _PLACE,
    "zone": _PLACE,
}
"""Of the whole file."""

_NOT_MOUNTED: Final = (
    "buckets and storage objects are not mounted; upload the data once with `tawtin artifacts put` and write its "
    "`sha256:...` id, or a local path"
)
_NOT_CLONED: Final = (
    "repositories are not cloned for you; write a local folder, or clone in `setup` with `network: true`"
)


class _Recovery:
    """`job_recovery`: recovering from preemption is what always happens, so only that may be said."""

    fixed: Final = Fields(
        {
            "strategy": Field(OneOf(("failover", "FAILOVER", "none", "NONE")), "how to recover"),
            "max_restarts_on_errors": Field(Integer(0, 0), "restarts of a program that failed"),
        },
        refused={
            "recover_on_exit_codes": "an exit code is an answer, and a program that failed is not started again"
        },
    )
    hint: Final = (
        "a run that was preempted or lost its node is always started again, where there is place; remove it"
    )

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the strategy in lower case."""
        word = OneOf(
            ("failover", "FAILOVER"),
            hints=dict.fromkeys(("EAGER_NEXT_REGION", "eager_next_region"), self.hint),
        )
        found = Choice(word, None, self.fixed).read(node, path, reading)
        if isinstance(found, dict):
            found = cast("dict[str, Any]", found).get("strategy", "failover")
            if str(found).lower() == "none":
                return reading.bad(f"{path}.strategy", self.hint)
        return found.lower() if isinstance(found, str) else found

    def schema(self) -> Schema:
        """Of the strategy."""
        return {"anyOf": [{"enum": ["failover", "FAILOVER"]}, self.fixed.schema()]}


class _Secrets:
    """`secrets`: a mapping as of `envs`, or a list of names."""

    mapping: Final = MapOf(Text(loose=True), ENV_NAME, "a name of letters, digits and `_`", null=_SECRET)

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return name -> value."""
        found = Choice(None, ListOf(Text("a name")), self.mapping).read(node, path, reading)
        if not isinstance(found, list):
            return found
        names: dict[str, None] = {}
        for number, item in enumerate(cast("list[str]", found)):
            name = item.removeprefix("secrets:")
            at = f"{path}[{number}]"
            if not ENV_NAME.fullmatch(name):
                reading.bad(at, "this is not a name of letters, digits and `_`")
            elif name not in reading.overridden:
                reading.bad(at, _SECRET.format(key=name))
            names[name] = None
        return names

    def schema(self) -> Schema:
        """Of both ways."""
        return {"anyOf": [self.mapping.schema(), {"type": "array", "items": {"type": "string"}}]}


def _listed_outputs(found: object) -> object:
    if isinstance(found, dict):
        return [{"name": name, "path": path} for name, path in cast("dict[str, str]", found).items()]
    named = cast("list[str | dict[str, str]]", found)
    return [
        {"name": each.rstrip("/").rpartition("/")[2], "path": each} if isinstance(each, str) else each
        for each in named
    ]


_OUTPUTS: Final = Choice(
    None,
    ListOf(
        Choice(
            Text("a path"),
            None,
            Fields(
                {
                    "name": Field(Text("a name"), "The name of the artifact."),
                    "path": Field(Text("a path"), "Relative to the working folder."),
                },
                required=("name", "path"),
            ),
        )
    ),
    MapOf(Text("a path"), null="this takes a path, relative to the working folder"),
    _listed_outputs,
)
_AUTO: Final = Quantity("a number or a quantity")
_GPUS: Final = Choice(
    Text("a GPU model and a number, such as `H100:8`"),
    ListOf(Text("a GPU model and a number, such as `H100:8`")),
    MapOf(Integer(1, 65_536)),
)
_COUNTRIES: Final = ListOf(Text("a country's code"), single=True)
_LABELS: Final = MapOf(
    Text(loose=True),
    LABEL_NAME,
    "a label of letters, digits, `_`, `.`, `/` and `-`",
    null="a label needs a value",
)

_SHAPE: Final[dict[str, Field]] = {
    "accelerators": Field(
        _GPUS, "GPUs on each node: `H100:8`, `H100:1..4`, `{H100: 1, A100: 2}` or `[A100:1, H100:1]`."
    ),
    "gpus": Field(_GPUS, "", into="accelerators", hidden=True),
    "cpus": Field(_AUTO, "Processors on each node: `4`, `4+`, `0.5`; rounded up into a class."),
    "memory": Field(
        _AUTO, "Memory on each node: `16` (GiB), `16+`, `512MB`, `16Gi`; rounded up into a class."
    ),
    "disk_size": Field(_AUTO, "Disk on each node: `256` (GiB), `256GB`; rounded up into a class."),
    "ephemeral_storage": Field(_AUTO, "", into="disk_size", hidden=True),
    "use_spot": Field(Boolean(), "The same as `preemptible`."),
}
_ALTERNATIVES: Final = ListOf(Fields(_SHAPE, REFUSED_RESOURCES))

RESOURCES: Final = Fields(
    {
        **_SHAPE,
        "any_of": Field(
            _ALTERNATIVES, "Alternatives, the first preferred; each adds to the fields beside `any_of`."
        ),
        "ordered": Field(_ALTERNATIVES, "The same as `any_of`."),
        "ports": Field(PORTS, "The same as `port` outside of `resources`."),
        "priority": Field(Integer(-1000, 1000), "The same as `priority` outside of `resources`."),
        "labels": Field(_LABELS, "The same as `labels` outside of `resources`."),
        "job_recovery": Field(_Recovery(), "`failover`, which is what always happens."),
        "spot_recovery": Field(_Recovery(), "", into="job_recovery", hidden=True),
    },
    REFUSED_RESOURCES,
)

JOB: Final = Fields(
    {
        "name": Field(Text("a name", loose=True), "What people call it. Without it, the name of the file."),
        "type": Field(
            OneOf(
                ("job", "service", "workspace", "query"),
                {"task": "write `job`", "dev-environment": "write `workspace`"},
            ),
            "What is asked for: `job` without it, or `service` or `workspace` if there is one; no `query` yet.",
        ),
        "run": Field(
            Text("a script"), "The script, run by `bash -eo pipefail` in the working folder on every node."
        ),
        "setup": Field(
            Text("a script"), "A script that runs before `run`; what it made is kept between runs."
        ),
        "envs": Field(
            MapOf(Text(loose=True), ENV_NAME, "a name of letters, digits and `_`", null=_GIVEN),
            "Environment of `setup` and `run`. One without a value is given at submission.",
        ),
        "secrets": Field(
            _Secrets(), "As `envs`; values are kept beside the workload, shown nowhere, gone when it ends."
        ),
        "workdir": Field(
            Text("a folder", _NOT_CLONED),
            "A local folder, or an artifact, that is copied into the working folder.",
        ),
        "file_mounts": Field(
            MapOf(
                Text("a local path or an artifact", _NOT_MOUNTED),
                null="this takes a local path or an artifact",
            ),
            "Path inside the run -> local path or artifact (`sha256:...`), mounted read-only.",
        ),
        "outputs": Field(
            _OUTPUTS, "Files or folders kept as artifacts: `{model: out/model.pt}` or `[out/model.pt]`."
        ),
        "resources": Field(RESOURCES, "What each node gets."),
        "service": Field(
            SERVICE, "What makes it a service: replicas that are kept running until somebody ends them."
        ),
        "workspace": Field(
            WORKSPACE,
            "What makes it a workspace: a program with pages, and a home that stays, for one person.",
        ),
        "port": Field(
            PORT, "Where the program of a service listens; without it, it has to listen at `$PORT`."
        ),
        "num_nodes": Field(Integer(1, 4096), "Nodes, started together; all get the same resources."),
        "array": Field(
            Choice(Quantity("a number or indices"), ListOf(Integer(0, 999_999))),
            "Members of an array: `4` for indices 0 to 3, `0-3`, `1,4,7`, `0-10:2`.",
        ),
        "max_duration": Field(
            Quantity("a duration"), "`90` (seconds), `2h30m`, `1:30:00`, `PT2H30M`; then it is stopped."
        ),
        "stop_grace": Field(Quantity("a duration"), "Time between SIGTERM and SIGKILL; 10 s without it."),
        "checkpoint": Field(
            Fields(
                {
                    "signal": Field(
                        OneOf((*SIGNALS, *(name[3:] for name in SIGNALS))), "Without it, `SIGUSR1`."
                    ),
                    "grace": Field(Quantity("a duration"), "How long saving may take; 30 s without it."),
                }
            ),
            "How a run is told to save itself before it is preempted or drained.",
        ),
        "priority": Field(
            Integer(-1000, 1000), "Higher goes first, within the tenant's quota; 0 without it."
        ),
        "preemptible": Field(
            Boolean(), "Whether it may be stopped for others and started again; true without it."
        ),
        "network": Field(Boolean(), "Whether it may use the network; false without it."),
        "on_partition": Field(
            OneOf(("wait", "rerun")),
            "What happens if the place that runs it is cut off: `wait`, or `rerun` elsewhere.",
        ),
        "data": Field(
            Fields(
                {
                    "class": Field(OneOf(tuple(DATA_CLASSES)), "The class of the data; `public` without it."),
                    "origin": Field(
                        Text("a country's code"), "Country whose law the data is under (ISO 3166-1 alpha-2)."
                    ),
                    "purpose": Field(Text("text"), "What the data is used for."),
                    "datasets": Field(
                        ListOf(Text("a dataset")),
                        "Names of your datasets that it reads, at `$TAWTIN_DATASETS/NAME`.",
                    ),
                }
            ),
            "What residency rules need to know.",
        ),
        "residency": Field(
            Fields(
                {
                    "allow": Field(_COUNTRIES, "Countries that may run it; all that rules allow without it."),
                    "deny": Field(_COUNTRIES, "Countries that may not."),
                }
            ),
            "The owner's own wish. It narrows what rules allow, and never widens it.",
        ),
        "budget": Field(
            Text("an amount with its currency, such as `500 MAD`"), "The most it may cost: `500 MAD`."
        ),
        "project": Field(Text("a name", loose=True), "What it is booked under."),
        "labels": Field(_LABELS, "Your own names and values."),
    },
    REFUSED,
)


def fields_of(fields: Fields) -> dict[str, Kind]:
    """Return the kinds of the fields that a spec may have, by name, older names left out."""
    return {name: each.kind for name, each in fields.fields.items() if not each.hidden}
