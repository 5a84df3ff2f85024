"""What a spec says of a service: how it is written, and what it means."""

from __future__ import annotations

import json
import re
from typing import Any, Final, cast

import msgspec

from tawtin.model.workload import Probe, Serving, WorkloadType
from tawtin.spec.errors import Problems, shown
from tawtin.spec.job import Job, Probing
from tawtin.spec.kinds import (
    Choice,
    Field,
    Fields,
    Integer,
    Kind,
    ListOf,
    Quantity,
    Reading,
    Schema,
    Text,
)
from tawtin.spec.scaling import POLICY, REPLICAS_MAX, policy
from tawtin.spec.tree import Mapping, Node, Scalar, Sequence
from tawtin.spec.units import duration_ms
from tawtin.spec.workspace import alone

POST_CHARS_MAX: Final = 10_000
DELAY_MS_MAX: Final = 86_400_000
TIMEOUT_MS_MAX: Final = 300_000
_PATH: Final = re.compile(r"/[!-~]{0,1000}", re.ASCII)
_NOT_BALANCED: Final = "replicas are chosen by whoever asks them; remove it"


class _Json:
    """Any JSON, as text or as YAML of the same meaning; kept as text."""

    def read(self, node: Node, path: str, reading: Reading) -> object:
        """Return the text."""
        if not isinstance(node, Scalar):
            return json.dumps(_plain(node, path, reading), ensure_ascii=False, separators=(",", ":"))
        try:
            json.loads(node.text)
        except (ValueError, RecursionError):
            return reading.bad(path, f"{shown(node.text)} is no JSON")
        return node.text

    def schema(self) -> Schema:
        """Of any value but a number."""
        return {"type": ["string", "object", "array"]}


def _plain(node: Node, path: str, reading: Reading) -> object:
    if isinstance(node, Mapping):
        found: dict[str, object] = {}
        for key, value in node.entries:
            at = f"{path}.{key.text}"
            reading.enter(at, key.place)
            found[key.text] = _plain(value, at, reading)
        return found
    if isinstance(node, Sequence):
        return [_plain(each, f"{path}[{number}]", reading) for number, each in enumerate(node.items)]
    if not node.plain or node.null:
        return None if node.plain else node.text
    try:
        return json.loads(node.text)
    except ValueError:
        return node.text


PORT: Final = Integer(1, 65_535)


def _one_port(found: object) -> object:
    ports = cast("list[str]", found) if isinstance(found, list) else [str(found)]
    return ports[0] if len(ports) == 1 else ",".join(ports)


PORTS: Final[Kind] = Choice(Quantity("a port"), ListOf(Quantity("a port")), None, _one_port)

SERVICE: Final = Fields(
    {
        "readiness_probe": Field(
            Choice(
                Text("a path, such as `/health`"),
                None,
                Fields(
                    {
                        "path": Field(Text("a path"), "What is asked for, such as `/health`."),
                        "initial_delay_seconds": Field(
                            Quantity("seconds"),
                            "How long it may take until it is ready first; 1200 without it.",
                        ),
                        "timeout_seconds": Field(
                            Quantity("seconds"), "How long one answer may take; 15 without it."
                        ),
                        "post_data": Field(_Json(), "The JSON body of a POST; a GET is sent without it."),
                    },
                    refused={
                        "headers": "probes carry no headers of yours; let this path answer without them"
                    },
                    required=("path",),
                ),
                lambda found: {"path": found} if isinstance(found, str) else found,
            ),
            "The path that answers 200 to 299 when a replica is ready, or how to ask.",
        ),
        "replicas": Field(Integer(1, REPLICAS_MAX), "How many are kept running; 1 without it."),
        "replica_policy": Field(
            POLICY, "How many are kept running, by the load of a model; instead of `replicas`."
        ),
        "port": Field(PORT, "The same as `port` outside of `service`."),
        "ports": Field(PORTS, "", into="port", hidden=True),
    },
    refused={
        "load_balancing_policy": _NOT_BALANCED,
        "tls": "replicas are reached inside the factory only; remove it",
        "pool": "workers are not kept standing; submit jobs, as many as there is work, with `array`",
        "workers": "workers are not kept standing; submit jobs, as many as there is work, with `array`",
        "spot_placer": "a factory is one site and no cloud; remove it",
    },
    required=("readiness_probe",),
)

_NO_END: Final = "a service runs until somebody ends it; remove it"
_JOBS_ONLY: Final[dict[str, tuple[Any, str]]] = {
    "array": (None, "a service has `service.replicas`, and no members of an array; remove it"),
    "max_duration": (None, _NO_END),
    "outputs": ([], "a service has no end at which outputs would be kept; remove it"),
    "num_nodes": (1, "a replica has one node in this version; remove it"),
    "on_partition": ("wait", "a service stays at its factory; remove it"),
}
"""Field -> its default, and why a service has none."""
_NO_PORT: Final = "a job opens no ports to the outside; remove it, or make it a service with `type: service`"


def type_of(job: Job, problems: Problems) -> WorkloadType:
    """What is asked for; a spec with a `service` is one, and one with a `workspace` as well."""
    if job.type is None:
        if job.workspace is not None:
            return WorkloadType.WORKSPACE
        return WorkloadType.SERVICE if job.service is not None else WorkloadType.JOB
    known = {each.value: each for each in WorkloadType}
    if job.type not in known:
        names = ", ".join(f"`{each}`" for each in known)
        problems.add("type", f"{shown(job.type)} is not one of {names}")
    return known.get(job.type, WorkloadType.JOB)


def _no_service(job: Job, asked: WorkloadType, problems: Problems) -> None:
    if job.service is not None:
        problems.add("service", f"it has `type: {asked.value}` as well; remove one")
    for field, value in (("port", job.port), ("resources.ports", job.resources.ports)):
        if value is not None:
            problems.add(field, _NO_PORT)


def serving(job: Job, asked: WorkloadType, problems: Problems) -> Serving | None:
    """What `job` says of its service; None if it is none."""
    if asked is WorkloadType.WORKSPACE:
        return alone(job, problems)
    if asked is not WorkloadType.SERVICE:
        _no_service(job, asked, problems)
        return None
    if job.service is None or job.service.readiness_probe is None:
        problems.add(
            "service",
            "a service needs `service.readiness_probe`, the path that answers when it is ready, such as `/health`",
        )
        return None
    for field, (default, why) in _JOBS_ONLY.items():
        if getattr(job, field) != default:
            problems.add(field, f"`{field}` has no meaning here: {why}")
    if job.network is False:
        problems.add("network", "a service is reached over the network; remove it")
    replicas, scaling = job.service.replicas, None
    if job.service.replica_policy is not None:
        if replicas is not None:
            problems.add(
                "service.replica_policy", "it says the same as `replicas`, which is given as well; remove one"
            )
        replicas, scaling = policy(job.service.replica_policy, problems)
    replicas = 1 if replicas is None else replicas
    if not 1 <= replicas <= REPLICAS_MAX:
        problems.add("service.replicas", f"`{replicas}` is outside of 1 to {REPLICAS_MAX}")
        return None
    return Serving(
        replicas=replicas,
        scaling=scaling,
        port=_port(job, problems),
        probe=_probe(job.service.readiness_probe, problems),
    )


def _port(job: Job, problems: Problems) -> int:
    said = {
        "port": job.port,
        "service.port": job.service.port if job.service is not None else None,
        "resources.ports": job.resources.ports,
    }
    given = {field: str(value) for field, value in said.items() if value is not None}
    for field, text in given.items():
        if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65_535:
            problems.add(field, f"{shown(text)} is not one port; a service has one, of 1 to 65535")
            return 0
    if len(given) > 1:
        first, *rest = given
        problems.add(rest[0], f"it says the same as `{first}`, which is given as well; remove one")
    return int(next(iter(given.values()), "0"))


def _probe(asked: Probing, problems: Problems) -> Probe:
    where = "service.readiness_probe"
    at = f"{where}.path" if f"{where}.path" in problems.marks else where
    if not _PATH.fullmatch(asked.path):
        problems.add(at, f"{shown(asked.path)} is no path; write one that begins with `/`, without spaces")
    if len(asked.post_data) > POST_CHARS_MAX:
        problems.add(f"{where}.post_data", f"this is longer than {POST_CHARS_MAX} characters; ask for less")
    found = Probe(path=asked.path, post_data=asked.post_data)
    for name, into, most in (
        ("initial_delay_seconds", "initial_delay_ms", DELAY_MS_MAX),
        ("timeout_seconds", "timeout_ms", TIMEOUT_MS_MAX),
    ):
        value = getattr(asked, name)
        if value is None:
            continue
        try:
            ms = duration_ms(str(value))
        except ValueError as error:
            problems.add(f"{where}.{name}", str(error))
            continue
        if not 1 <= ms <= most:
            problems.add(f"{where}.{name}", f"{shown(str(value))} is outside of 1 ms to {most // 1000} s")
            continue
        found = msgspec.structs.replace(found, **{into: ms})
    return found
