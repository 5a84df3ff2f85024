"""A connection to the factory for verbs: names become workloads, and errors become faults with an exit code."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice

from tawtin.cli import exits, output

TYPE_CHECKING = False  # neither typing nor the client is imported for a verb's help
if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterable, Iterator
    from typing import Any, TypeVar

    from tawtin.client import ApiError, Client, ClientError
    from tawtin.model.artifact import Artifact
    from tawtin.model.resources import Shape
    from tawtin.model.views import ArtifactView, WaitingView, WorkloadView
    from tawtin.model.workload import Input, Usage

    T = TypeVar("T")

LOOK_BACK = 2000
"""So many of the newest workloads are searched for a name."""
STATUS_CODES = {
    401: exits.DENIED,
    403: exits.DENIED,
    404: exits.NOT_FOUND,
    409: exits.CONFLICT,
    412: exits.CONFLICT,
}


@contextmanager
def connect(arguments: argparse.Namespace) -> Generator[Client]:
    """Connect to the factory that the command line names. Raises Fault for whatever goes wrong inside."""
    from tawtin.client import Client

    with faults():
        url, key = where(arguments)
        with Client(url, key) as client:
            yield client


def where(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """Address and key as the command line gives them; None for what the client is to find by itself."""
    key = None
    if arguments.key_file:
        try:
            with open(arguments.key_file, encoding="ascii") as source:
                key = source.read().strip()
        except (OSError, ValueError) as error:
            raise exits.Fault(
                f"cannot read the key in `{arguments.key_file}`: {error}", exits.DENIED
            ) from None
    return arguments.factory, key


@contextmanager
def faults() -> Generator[None]:
    """Turn what the client raises into faults."""
    from tawtin.client import ClientError

    try:
        yield
    except ClientError as error:
        raise fault_of(error) from None


def fault_of(error: ClientError) -> exits.Fault:
    """Return the fault for what the client raised."""
    from tawtin.client.errors import ApiError, ConfigError, ConnectionBroken

    if isinstance(error, ApiError):
        return _refused(error)
    text = str(error)
    if isinstance(error, ConfigError):
        if "key" in text:
            hint = "a factory writes its first key when it starts: tawtin up; else ask its operator for one"
            return exits.Fault(text, exits.DENIED, hint=hint)
        hint = "make one: tawtin init, tawtin up; or name one: --factory URL, or TAWTIN_FACTORY=URL"
        return exits.Fault(text, exits.UNREACHABLE, hint=hint)
    if isinstance(error, ConnectionBroken):
        return exits.Fault(text, exits.UNREACHABLE, hint="on this machine it is started by: tawtin up")
    return exits.Fault(text, exits.FACTORY)


def _refused(error: ApiError) -> exits.Fault:
    problem = error.problem
    code = STATUS_CODES.get(problem.status, exits.FACTORY if problem.status >= 500 else exits.USAGE)
    if problem.status == 422 and problem.token and not problem.errors:
        code = exits.DENIED
    hint = ""
    if problem.status == 401:
        hint = "name another key: --key-file FILE, or TAWTIN_KEY_FILE"
    elif problem.retry_after_ms:
        hint = f"try again in {output.span(problem.retry_after_ms)}"
    return exits.Fault(str(error), code, token=problem.token, hint=hint)


def record(plain: dict[str, Any], kind: type[T]) -> T:
    """Return a record made from what the command line says. Raises Fault with the field."""
    import msgspec

    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        raise exits.Fault(f"{place.rstrip('`') or 'value'}: {text[:1].lower()}{text[1:]}") from None


# --- names -----------------------------------------------------------------------------------------------------------


IDS = {"wl-": 29, "gw-": 35}
"""How long ids are: of workloads, and of those of a peer that run here."""


def resolve(client: Client, name: str) -> WorkloadView:
    """Return the workload that `name` means: an id, the beginning of one, or the newest of that name."""
    found = resolve_many(client, name)
    return found[0]


def resolve_many(client: Client, name: str) -> list[WorkloadView]:
    """Return the workload that `name` means, or all of an array by the array's id or name, in their order."""
    if name.startswith("ar-"):
        members = sorted(client.iterate(array=name), key=_array_index)
        if members:
            return members
        raise _nothing(name)
    prefix = name[:3]
    if len(name) == IDS.get(prefix):
        return [client.get(name)]
    matching: list[WorkloadView] = []
    for view in islice(client.iterate(), LOOK_BACK):
        if view.workload.spec.name == name:
            array = view.workload.array
            if array and array.size > 1:
                return sorted(client.iterate(array=array.id), key=_array_index)
            return [view]
        if prefix in IDS and view.workload.id.startswith(name):
            matching.append(view)
    if len(matching) == 1:
        return matching
    if matching:
        raise exits.Fault(f"`{name}` is the beginning of {len(matching)} ids", hint="give more of it")
    raise _nothing(name)


def _array_index(view: WorkloadView) -> int:
    return view.workload.array.index if view.workload.array else 0


def _nothing(name: str) -> exits.Fault:
    return exits.Fault(f"there is no workload `{name}`", exits.NOT_FOUND, hint="tawtin ps --all lists them")


def _artifacts(client: Client, *, tenant: str | None = None, datasets: bool = False) -> Iterator[Artifact]:
    before = ""
    while True:
        page = client.artifacts(tenant=tenant, datasets=datasets, before=before, limit=1000)
        yield from page.items
        before = page.next
        if not before:
            return


def artifacts(client: Client, *, tenant: str | None = None, limit: int) -> list[Artifact]:
    """Return the newest artifacts."""
    return list(islice(_artifacts(client, tenant=tenant), limit))


def datasets(client: Client, *, tenant: str | None = None) -> dict[str, Artifact]:
    """Return what each name of a dataset means now, by name."""
    held = list(_artifacts(client, tenant=tenant, datasets=True))
    return dict(sorted((name, each) for each in held for name in each.datasets))


def resolve_artifact(client: Client, name: str) -> ArtifactView:
    """Return the artifact with this id, or the only one whose id begins so (`sha256:` may be left out)."""
    wanted = name if name.startswith("sha256:") else f"sha256:{name}"
    if len(wanted) == 71:
        return client.artifact(wanted)
    found = sorted({each.id for each in _artifacts(client) if each.id.startswith(wanted)})
    if len(found) == 1:
        return client.artifact(found[0])
    if found:
        raise exits.Fault(f"`{name}` is the beginning of {len(found)} artifacts", hint="give more of it")
    raise exits.Fault(f"there is no artifact `{name}`", exits.NOT_FOUND, hint="tawtin artifacts list")


# --- words that several verbs use ------------------------------------------------------------------------------------


def currency(client: Client) -> str:
    """Return the currency that the factory charges in."""
    return client.whoami().currency


def shape_words(shape: Shape, nodes: int = 1) -> str:
    """Return what a run takes, in words."""
    parts = [f"{shape.cpus_milli / 1000:g} CPU", output.size(shape.memory_mib << 20)]
    if shape.gpus:
        parts.insert(0, f"{shape.gpus} x {shape.gpu_model or 'any GPU'}")
    if shape.disk_mib:
        parts.append(f"{output.size(shape.disk_mib << 20)} disk")
    return (f"{nodes} nodes, each " if nodes > 1 else "") + ", ".join(parts)


def waiting_words(waiting: WaitingView, now_ms: int) -> Iterable[str]:
    """Return why something waits: token, sentence, estimated start."""
    yield f"{waiting.reason}: {waiting.sentence}"
    if waiting.reason == "PeerUnreachable":
        return
    if waiting.start_ms is None:
        yield "it will not start as things are"
    else:
        yield f"estimated start {output.moment(waiting.start_ms)}, in about {output.span(waiting.start_ms - now_ms)}"
    if waiting.position:
        yield f"{waiting.position} with a better claim to the same come first"


def input_words(read: Input) -> str:
    """Return what is read, by name or digest, and the law that it is under."""
    name = output.clean(read.name) or "a mounted artifact"
    return f"{name}: {read.data_class} of {read.origin}, {read.artifact[: len('sha256:') + 12]}"


def usage_words(usage: Usage) -> str:
    """Return what a run used, in words."""
    parts = [
        f"{output.span(usage.wall_ms)} wall",
        f"{output.span(usage.cpu_ms)} CPU",
        f"{output.size(usage.memory_peak_mib << 20)} memory at most",
    ]
    if usage.gpu_ms:
        declared = " (declared, not real)" if usage.gpus_declared else ""
        parts.append(f"{output.span(usage.gpu_ms)} of {usage.gpu_model or 'GPU'}{declared}")
    if usage.energy_mj:
        parts.append(f"{usage.energy_mj / 3.6e9:.3g} kWh")
    return ", ".join(parts)
