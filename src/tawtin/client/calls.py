"""One function for each route: what is sent, and what the answer is read as."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from tawtin.model.artifact import Artifact, Manifest
    from tawtin.model.gateway import EndpointsView, TokensUsed
    from tawtin.model.health import Quarantine
    from tawtin.model.introduction import Introduction
    from tawtin.model.requests import InvitationNew, JoinNew, KeyNew, TenantChange, TenantNew
    from tawtin.model.resources import Node, NodeHealth
    from tawtin.model.roaming import Peer
    from tawtin.model.tenant import Account, Tenant
    from tawtin.model.views import (
        ArtifactView,
        BlobKept,
        CapacityView,
        EventPage,
        Explanation,
        IdentityView,
        Invited,
        KeyView,
        NewKey,
        Page,
        PlanView,
        Rates,
        StoreView,
        Submitted,
        WhoAmI,
        WorkloadView,
    )
    from tawtin.model.workload import Run
    from tawtin.spec.job import Job, Parsed

T = TypeVar("T")
API = "/api/v1"
JSON = "application/json"
_SUFFIXES = {".yaml": "application/yaml", ".yml": "application/yaml", ".json": JSON}


class Call(Generic[T]):
    """One request, and how its answer is read."""

    __slots__ = ("body", "decode", "headers", "media", "method", "path", "query", "repeatable")

    def __init__(
        self,
        method: str,
        path: str,
        decode: Callable[[bytes], T],
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | os.PathLike[str] = b"",
        media: str = JSON,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> None:
        """`path` is below `/api/v1`; a `body` that is a path is sent from that file."""
        self.method = method
        self.path = path
        self.decode = decode
        self.query = query or {}
        self.body = body
        self.media = media
        self.headers = dict(headers or {})
        self.repeatable = repeatable
        """Whether sending it twice does no more than sending it once."""

    def target(self) -> str:
        """Path and query."""
        given = {name: value for name, value in self.query.items() if value not in (None, "", (), False)}
        if not given:
            return API + self.path
        from urllib.parse import urlencode  # noqa: PLC0415 - so that importing the client stays cheap

        return f"{API}{self.path}?{urlencode({name: _text(value) for name, value in given.items()})}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(str(each) for each in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(value)


def _reads(record: Callable[[], Any]) -> Callable[[bytes], Any]:
    """Decode as the record that `record` returns; it is imported when the first answer comes."""

    def decode(body: bytes) -> Any:  # noqa: ANN401 - the call says what
        import msgspec  # noqa: PLC0415 - the records are most of what importing costs

        return msgspec.json.decode(body, type=record())

    return decode


def _views() -> Any:  # noqa: ANN401 - a module
    from tawtin.model import views  # noqa: PLC0415 - as above

    return views


def _encoded(value: object) -> bytes:
    import msgspec  # noqa: PLC0415 - as above

    return msgspec.json.encode(value)


def quoted(text: str) -> str:
    """A part of a path."""
    from urllib.parse import quote  # noqa: PLC0415 - as above

    return quote(text, safe=":")


def _etag(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}


def _once(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key or os.urandom(16).hex()}


# --- workloads -------------------------------------------------------------------------------------------------------


def written(spec: bytes | str | os.PathLike[str] | Mapping[str, Any] | Job | Parsed) -> tuple[bytes, str]:
    """Return a spec as (body, media type).

    Bytes are JSON as they are; a string or path names a file (`.json`, `.yaml`, else an sbatch script if it begins with
    `#!`); a mapping has the fields of a spec; `Job` and `Parsed` write themselves.
    """
    if isinstance(spec, bytes):
        return spec, JSON
    if isinstance(spec, str | os.PathLike):
        with open(spec, "rb") as source:  # noqa: PTH123 - takes both strings and paths
            text = source.read()
        name = str(os.fspath(spec)).lower()
        media = next((media for suffix, media in _SUFFIXES.items() if name.endswith(suffix)), "")
        return text, media or ("text/x-sbatch" if text.startswith(b"#!") else "application/yaml")
    if isinstance(spec, Mapping):
        return _encoded(dict(spec)), JSON  # pyright: ignore[reportUnknownArgumentType]
    body = getattr(spec, "body", None) or getattr(spec, "to_json")  # noqa: B009 - a record of a sibling, by its methods
    return body(), JSON


def submit(
    spec: bytes | str | os.PathLike[str] | Mapping[str, Any] | Job | Parsed,
    *,
    tenant: str | None = None,
    idempotency_key: str = "",
) -> Call[Submitted]:
    """Submit a spec. Without `idempotency_key` one is drawn, so that a lost answer never makes two workloads."""
    body, media = written(spec)
    return Call(
        "POST", "/workloads", _reads(lambda: _views().Submitted), query={"tenant": tenant}, body=body, media=media,
        headers=_once(idempotency_key),
    )  # fmt: skip


def plan(
    spec: bytes | str | os.PathLike[str] | Mapping[str, Any] | Job | Parsed, *, tenant: str | None = None
) -> Call[PlanView]:
    """Say what would happen to a spec now."""
    body, media = written(spec)
    return Call(
        "POST", "/plan", _reads(lambda: _views().PlanView), query={"tenant": tenant}, body=body, media=media
    )


def get(workload: str) -> Call[WorkloadView]:
    """Show a workload."""
    return Call("GET", f"/workloads/{quoted(workload)}", _reads(lambda: _views().WorkloadView))


def workloads(
    *,
    tenant: str | None = None,
    phases: Iterable[str] = (),
    array: str = "",
    before: str = "",
    limit: int = 100,
) -> Call[Page[WorkloadView]]:
    """One page of workloads, newest first."""
    query = {"tenant": tenant, "phase": tuple(phases), "array": array, "before": before, "limit": limit}
    return Call("GET", "/workloads", _reads(lambda: _views().Page[_views().WorkloadView]), query=query)


def cancel(workload: str, *, if_match: int | None = None) -> Call[WorkloadView]:
    """Ask for a workload's end."""
    path = f"/workloads/{quoted(workload)}/cancel"
    return Call("POST", path, _reads(lambda: _views().WorkloadView), headers=_etag(if_match))


def retry(workload: str, *, idempotency_key: str = "") -> Call[Submitted]:
    """Submit the spec of a workload that is over again."""
    path = f"/workloads/{quoted(workload)}/retry"
    return Call("POST", path, _reads(lambda: _views().Submitted), headers=_once(idempotency_key))


def explain(workload: str) -> Call[Explanation]:
    """Say why a workload waits."""
    return Call("GET", f"/workloads/{quoted(workload)}/explain", _reads(lambda: _views().Explanation))


def runs(workload: str) -> Call[tuple[Run, ...]]:
    """All runs of a workload, newest first."""
    return Call("GET", f"/workloads/{quoted(workload)}/runs", _items(lambda: _of("workload").Run))


def _of(module: str) -> Any:  # noqa: ANN401 - a module
    from importlib import import_module  # noqa: PLC0415 - as above

    return import_module(f"tawtin.model.{module}")


def _items(record: Callable[[], Any]) -> Callable[[bytes], Any]:
    decode = _reads(lambda: _views().Items[record()])
    return lambda body: decode(body).items


# --- the factory -----------------------------------------------------------------------------------------------------


def whoami() -> Call[WhoAmI]:
    """Whose key this is, and which factory answers."""
    return Call("GET", "/whoami", _reads(lambda: _views().WhoAmI))


def capacity() -> Call[CapacityView]:
    """The nodes, and what is free."""
    return Call("GET", "/capacity", _reads(lambda: _views().CapacityView))


def set_node_health(name: str, health: NodeHealth | str) -> Call[Node]:
    """Take a node out (`draining`) or back in (`ready`)."""
    body = _encoded({"health": str(health)})
    return Call("PUT", f"/nodes/{quoted(name)}/health", _reads(lambda: _of("resources").Node), body=body)


def quarantines() -> Call[tuple[Quarantine, ...]]:
    """What is out of service, and what was."""
    return Call("GET", "/quarantines", _items(lambda: _of("health").Quarantine))


def quarantine(name: str, *, why: str, gpus: Sequence[int] = ()) -> Call[tuple[Quarantine, ...]]:
    """Take GPUs of a node, or the whole of it, out of service; their runs are drained."""
    body = _encoded({"gpus": list(gpus), "why": why})
    path = f"/nodes/{quoted(name)}/quarantine"
    return Call("POST", path, _items(lambda: _of("health").Quarantine), body=body)


def bring_back(
    name: str, *, gpus: Sequence[int] = (), untested: bool = False
) -> Call[tuple[Quarantine, ...]]:
    """Bring back GPUs of a node: after a burn-in job, which starts now, or at once if `untested`."""
    body = _encoded({"gpus": list(gpus), "untested": untested})
    path = f"/nodes/{quoted(name)}/return"
    return Call("POST", path, _items(lambda: _of("health").Quarantine), body=body)


def usage(*, tenant: str | None = None, month: str | None = None) -> Call[tuple[Account, ...]]:
    """What ended runs and charged requests for models used, by tenant and month."""
    return Call(
        "GET", "/usage", _items(lambda: _of("tenant").Account), query={"tenant": tenant, "month": month}
    )


def endpoints() -> Call[EndpointsView]:
    """Where models are served, which, and for an admin by what."""
    return Call("GET", "/endpoints", _reads(lambda: _of("gateway").EndpointsView))


def tokens(*, tenant: str | None = None, month: str | None = None) -> Call[tuple[TokensUsed, ...]]:
    """What settled requests for models used, by tenant, month, model, country and provider."""
    query = {"tenant": tenant, "month": month}
    return Call("GET", "/endpoints/usage", _items(lambda: _of("gateway").TokensUsed), query=query)


def identity() -> Call[IdentityView]:
    """Who the factory is to its peers."""
    return Call("GET", "/identity", _reads(lambda: _views().IdentityView))


def peers() -> Call[tuple[Peer, ...]]:
    """The factories that it knows."""
    return Call("GET", "/peers", _items(lambda: _of("roaming").Peer))


def put_peer(name: str, peer: Peer | Mapping[str, Any]) -> Call[Peer]:
    """Add or change a peer."""
    return Call("PUT", f"/peers/{quoted(name)}", _reads(lambda: _of("roaming").Peer), body=_encoded(peer))


def store() -> Call[StoreView]:
    """Whether the store was put back from a backup, and which peers are still asked what they know."""
    return Call("GET", "/store", _reads(lambda: _views().StoreView))


def waive(name: str, *, why: str) -> Call[StoreView]:
    """Say that a peer is gone for good, and is not waited for after a restore."""
    path = f"/peers/{quoted(name)}/waive"
    return Call(
        "POST", path, _reads(lambda: _views().StoreView), body=_encoded({"why": why}), repeatable=False
    )


def introductions() -> Call[tuple[Introduction, ...]]:
    """The invitations that are under way."""
    return Call("GET", "/introductions", _items(lambda: _of("introduction").Introduction))


def invite(invitation: InvitationNew | Mapping[str, Any]) -> Call[Invited]:
    """Make an invitation for the operator of another factory."""
    return Call(
        "POST",
        "/introductions",
        _reads(lambda: _views().Invited),
        body=_encoded(invitation),
        repeatable=False,
    )


def join(invitation: JoinNew | Mapping[str, Any]) -> Call[Introduction]:
    """Take up an invitation of another factory."""
    reads = _reads(lambda: _of("introduction").Introduction)
    return Call("POST", "/introductions/join", reads, body=_encoded(invitation))


def confirm(name: str, *, digits: str) -> Call[Peer]:
    """Enter the digits that the operator of that factory read out."""
    path = f"/introductions/{quoted(name)}/confirm"
    reads = _reads(lambda: _of("roaming").Peer)
    return Call("POST", path, reads, body=_encoded({"digits": digits}), repeatable=False)


def withdraw(name: str) -> Call[Introduction]:
    """Let an invitation be void."""
    reads = _reads(lambda: _of("introduction").Introduction)
    return Call("DELETE", f"/introductions/{quoted(name)}", reads, repeatable=False)


def declare_lost(workload: str, *, why: str) -> Call[WorkloadView]:
    """Say that the peer which has the workload's run is gone for good."""
    body = _encoded({"why": why})
    return Call(
        "POST",
        f"/workloads/{quoted(workload)}/lost",
        _reads(lambda: _views().WorkloadView),
        body=body,
        repeatable=False,
    )


def localisation(
    *,
    by: str = "tenant",
    tenant: str | None = None,
    month: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Call[Rates]:
    """Which share of what runs and requests for models used was used at home, on the continent, outside.

    `by` is tenant, factory, country or network; `month`, or `since` and `until`, are months such as 2026-11.
    """
    query = {"by": by, "tenant": tenant, "month": month, "since": since, "until": until}
    return Call("GET", "/localisation", _reads(lambda: _views().Rates), query=query)


def events(*, start: int = 0, limit: int = 100) -> Call[EventPage]:
    """One page of the log, oldest first."""
    return Call(
        "GET", "/events", _reads(lambda: _views().EventPage), query={"start": start or None, "limit": limit}
    )


# --- tenants and keys ------------------------------------------------------------------------------------------------


def tenants() -> Call[tuple[Tenant, ...]]:
    """All tenants for an admin, else one's own."""
    return Call("GET", "/tenants", _items(lambda: _of("tenant").Tenant))


def tenant(tenant_id: str) -> Call[Tenant]:
    """One tenant."""
    return Call("GET", f"/tenants/{quoted(tenant_id)}", _reads(lambda: _of("tenant").Tenant))


def create_tenant(new: TenantNew | Mapping[str, Any]) -> Call[Tenant]:
    """Create a tenant."""
    return Call(
        "POST", "/tenants", _reads(lambda: _of("tenant").Tenant), body=_encoded(new), repeatable=False
    )


def replace_tenant(tenant_id: str, change: TenantChange, *, if_match: int) -> Call[Tenant]:
    """Replace what can be changed about a tenant; `if_match` is the version that was read."""
    path = f"/tenants/{quoted(tenant_id)}"
    decode = _reads(lambda: _of("tenant").Tenant)
    return Call("PUT", path, decode, body=_encoded(change), headers=_etag(if_match), repeatable=False)


def change_tenant(tenant_id: str, change: Mapping[str, Any], *, if_match: int) -> Call[Tenant]:
    """Change these fields alone, such as `{"quota": {"gpus": 8}}`; `if_match` is the version that was read."""
    path = f"/tenants/{quoted(tenant_id)}"
    decode = _reads(lambda: _of("tenant").Tenant)
    return Call("PATCH", path, decode, body=_encoded(dict(change)), headers=_etag(if_match), repeatable=False)


def keys(*, tenant: str | None = None) -> Call[tuple[KeyView, ...]]:
    """A tenant's keys, oldest first."""
    return Call("GET", "/keys", _items(lambda: _views().KeyView), query={"tenant": tenant})


def issue_key(new: KeyNew | Mapping[str, Any]) -> Call[NewKey]:
    """Issue a key; its secret is shown this once. Never repeated by itself."""
    return Call("POST", "/keys", _reads(lambda: _views().NewKey), body=_encoded(new), repeatable=False)


def revoke_key(key_id: str) -> Call[KeyView]:
    """Revoke a key."""
    return Call("DELETE", f"/keys/{quoted(key_id)}", _reads(lambda: _views().KeyView))


# --- artifacts -------------------------------------------------------------------------------------------------------


def artifacts(
    *, tenant: str | None = None, datasets: bool = False, before: str = "", limit: int = 100
) -> Call[Page[Artifact]]:
    """One page of a tenant's artifacts, newest first; with `datasets`, those alone that have a name as one."""
    query = {"tenant": tenant, "datasets": "true" if datasets else "", "before": before, "limit": limit}
    return Call("GET", "/artifacts", _reads(lambda: _views().Page[_of("artifact").Artifact]), query=query)


def artifact(artifact_id: str) -> Call[ArtifactView]:
    """An artifact and its files."""
    return Call("GET", f"/artifacts/{quoted(artifact_id)}", _reads(lambda: _views().ArtifactView))


def drop_artifact(artifact_id: str) -> Call[None]:
    """Give up an artifact."""
    return Call("DELETE", f"/artifacts/{quoted(artifact_id)}", lambda _: None)


def missing_blobs(digests: Iterable[str]) -> Call[tuple[str, ...]]:
    """Which blobs have to be uploaded."""
    decode = _reads(lambda: _of("requests").Digests)
    body = _encoded({"digests": tuple(digests)})
    return Call("POST", "/blobs/missing", lambda answer: decode(answer).digests, body=body)


def put_blob(digest: str, source: bytes | os.PathLike[str]) -> Call[BlobKept]:
    """Upload the bytes, or the file, that hash to `digest`."""
    decode = _reads(lambda: _views().BlobKept)
    return Call("PUT", f"/blobs/{quoted(digest)}", decode, body=source, media="application/octet-stream")


def put_artifact(
    manifest: Manifest,
    *,
    name: str = "",
    data_class: str = "public",
    origin: str = "",
    dataset: str = "",
    tenant: str | None = None,
) -> Call[Artifact]:
    """Keep an artifact whose blobs are uploaded; `dataset` is the name by which specs read it from now on."""
    new = _of("requests").ArtifactNew(
        manifest=manifest, name=name, data_class=data_class, origin=origin, dataset=dataset
    )
    decode = _reads(lambda: _of("artifact").Artifact)
    return Call("POST", "/artifacts", decode, query={"tenant": tenant}, body=_encoded(new))


def read_file(artifact_id: str, path: str) -> Call[bytes]:
    """One file of an artifact, whole."""
    from urllib.parse import quote  # noqa: PLC0415 - as above

    return Call("GET", f"/artifacts/{quoted(artifact_id)}/files/{quote(path)}", bytes)
