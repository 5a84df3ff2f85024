"""What an operator can set about the gateway and the models behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from tawtin.model.base import Record
from tawtin.model.gateway import Country
from tawtin.model.money import Minor
from tawtin.model.rules import DATA_CLASSES, Facts

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Limit = Annotated[int, msgspec.Meta(ge=0)] | None
_Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
_Bytes = Annotated[int, msgspec.Meta(ge=1024)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,126}$"
"""Of a model."""


class Limits(Record, frozen=True, kw_only=True):
    """What may be used at most. None means no limit."""

    requests_per_minute: _Limit = None
    tokens_per_minute: _Limit = None
    minor_per_month: _Limit = None


class TenantSettings(Limits, frozen=True, kw_only=True):
    """`[gateway.tenants.ID]`: what holds for one tenant instead."""

    external: bool = False
    """Whether its requests may go to external providers where no other replica can answer and the rules allow it."""
    log_content: bool = False
    """Whether what it says and hears is kept, in the gateway's folder."""

    @property
    def limits(self) -> Limits | None:
        """Its limits; None if none is set, so that those of all tenants hold."""
        found = Limits(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            minor_per_month=self.minor_per_month,
        )
        return None if found == Limits() else found


class GatewaySettings(Record, frozen=True, kw_only=True):
    """`[gateway]`: the OpenAI-compatible door to models. It runs where a `[models.NAME]` is there."""

    enabled: bool = True
    """Whether it runs; without a `[models.NAME]` it does not."""
    host: str = "127.0.0.1"
    """The address to listen on. TLS belongs to a proxy in front; without one, keep it on loopback."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8480
    """The port, which all workers share; 0 lets the system choose."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    """Processes that answer requests."""
    folder: str = ""
    """Where its ledger, snapshot and sockets are; empty is `gateway` in the data folder. On a local disk."""
    class_default: str = "personal"
    """The class of data in a request that does not say one by the header `x-tawtin-class`."""
    body_bytes_max: _Bytes = 10 << 20
    """Longest body of a request."""
    header_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 32 << 10
    """Longest request line and headers together."""
    answer_bytes_max: _Bytes = 64 << 20
    """Longest answer of a replica that is no stream."""
    event_bytes_max: _Bytes = 4 << 20
    """Longest single event of a stream."""
    header_seconds_max: _Seconds = 10
    """How long a client may take over the headers of a request."""
    body_seconds_max: _Seconds = 30
    """How long a client may take over the body of a request, or pause in reading an answer."""
    idle_seconds_max: _Seconds = 75
    """How long a connection may stay open without a request."""
    connect_seconds_max: _Seconds = 5
    """How long a replica may take to accept a connection."""
    first_byte_seconds_max: _Seconds = 300
    """How long a replica may take until its answer begins."""
    pause_seconds_max: _Seconds = 60
    """How long a replica may pause within an answer."""
    hold_seconds_max: _Seconds = 300
    """How long a request waits for a model whose service rests or starts, until a replica is ready."""
    holds_max: Annotated[int, msgspec.Meta(ge=0)] = 256
    """Requests that one worker lets wait so at one time; further ones are answered 503. With 0 none waits, and nothing
    wakes a service that rests."""
    stop_seconds_max: _Seconds = 10
    """How long requests may go on once the factory is told to stop."""
    ledger_seconds_max: _Seconds = 10
    """How long the ledger may take to answer a worker, which then hangs up and comes back."""
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 90
    """How long the ledger keeps a row for each request. Then, once its month is over and it is in the accounts, it is
    part of a sum."""
    settle_ms: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 10
    """How long what a request came to may wait to be written with the next reservation. Nobody waits for it."""
    ask_seconds_max: _Seconds = 5
    """How long the ledger may take to answer the factory."""
    return_seconds_max: _Seconds = 10
    """How long workers may take to come back after a restart of the ledger; then what they held is settled for them."""
    ledger_stop_seconds_max: _Seconds = 15
    """How long the ledger may take to end once no worker is left."""
    connections_max: _Count = 4096
    """Connections of clients to one worker at one time; further ones are answered 503."""
    replica_connections_max: _Count = 1024
    """Connections of one worker to one replica at one time."""
    tries_max: _Count = 3
    """Replicas that are tried for one request, as long as none of its answer has arrived."""
    redact: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")] = ""
    """A function, `module:function`, that workers hand the fields of each body, and that returns those that go on to a
    replica; empty for none. If it fails, the request is refused."""
    content_bytes_max: _Bytes = 64 << 20
    """What is kept at most of one tenant with `log_content`; older lines are forgotten."""
    hedge_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 0
    """When an answer did not begin for so long, a second replica gets the request as well, and the first that answers
    wins. 0 is never, unless `hedge_percentile` is set; then it is the least that is waited."""
    hedge_percentile: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    """The same after the time in which so many percent of that replica's newest answers began, such as 95; 0 is off."""
    hedge_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    """Second requests of a worker, at most, in percent of all its requests: an overload is not doubled."""
    failures_max: _Count = 5
    """So many failures in a row, and a worker leaves a replica alone for `shut_seconds`."""
    shut_seconds: _Seconds = 10
    """How long a replica is left alone. Then one request tries it."""
    over_percent: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 100
    """A conversation goes on at the replica that had its last turn, until that has so much more than an equal share of
    the requests under way."""
    snapshot_ms: Annotated[int, msgspec.Meta(ge=50)] = 1_000
    """How often the factory looks whether keys, tenants or verdicts changed, and workers whether it wrote them anew."""
    judge_again_ms: Annotated[int, msgspec.Meta(ge=100)] = 60_000
    """Verdicts are asked for again at least this often."""
    stale_ms: Annotated[int, msgspec.Meta(ge=200)] = 30_000
    """Workers refuse every request when the factory has said nothing for so long."""
    batch_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 50
    """What a request of a batch costs, in per cent of the model's price."""
    batch_priority: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] = -100
    """The priority of the jobs that ask the requests of batches."""
    batch_requests_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000
    """Requests in one batch."""
    batch_at_once: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    """Requests of one batch that are under way at one time."""
    batch_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s?#@]+)?$")] = ""
    """Where runs reach this gateway, with `/v1`; empty where they are on this machine, for its own address. Then `port`
    must not be 0, as a job outlives a restart of the factory."""
    file_bytes_max: _Bytes = 200 << 20
    """Longest file that may be uploaded."""
    files_bytes_max: _Bytes = 10 << 30
    """What the files of one tenant may be together, results of batches included."""
    file_seconds_max: Annotated[int, msgspec.Meta(ge=60)] = 30 * 86_400
    """How long a file stays; it may ask for less."""
    charge_ms: Annotated[int, msgspec.Meta(ge=50)] = 5_000
    """How often what requests cost is taken over into the accounts, and with that into the log."""
    limits: Limits = Limits()
    """What each tenant may use, as `[gateway.limits]`: `requests_per_minute`, `tokens_per_minute`, `minor_per_month`.
    A tenant's own budget for a month holds as well."""
    tenants: dict[str, TenantSettings] = {}
    """For some tenants, as `[gateway.tenants.ID]`: other limits, which replace all of `[gateway.limits]` if one is set,
    `external` (false), whether external providers may answer as a last resort, and `log_content` (false), whether
    requests and answers are kept, in `content` in the gateway's folder, for its owner's eyes only."""
    keys: dict[str, Limits] = {}
    """Limits for some keys, as `[gateway.keys.ID]`, which hold beside those of their tenants."""


class ReplicaSettings(Record, frozen=True, kw_only=True):
    """One server of a model that runs already, or all replicas of a service, which speak OpenAI's API."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$")] = ""
    """Where it listens, without `/v1`: `http://10.0.0.7:8000`."""
    service: Annotated[str, msgspec.Meta(pattern=r"^([^\s/]+/[^\s/]+)?$")] = ""
    """In its place: a tenant and its service, as `lab/atlas`, whose replicas get requests while they are ready."""
    country: Country | None = None
    """ISO 3166-1 alpha-2 of where it stands; nothing for the factory's own country."""
    key_file: str = ""
    """A file with the key that it wants, relative to factory.toml; empty for none."""
    model: str = ""
    """What it calls the model; empty for the name in the catalogue."""
    priority: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    """Lower is asked first: those of a higher one get requests only while none of a lower one can take them. All in the
    tenant's own country come before all others, and external providers last, whatever their priority is."""
    requests_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Requests of one worker that it gets at one time; further ones go to others. 0 is
    `gateway.replica_connections_max`."""
    external: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9 ._-]{0,62})?$")] = ""
    """Who runs it, if that is somebody outside: a provider, which is asked only where no other replica can answer, for
    tenants with `[gateway.tenants.ID] external = true`. Needs `country`, and an `https` address outside of loopback."""
    facts: Facts | None = None
    """What residency rules may ask about who runs it; nothing for the factory's own facts if it stands in the factory's
    country and is not external, else nothing is known."""


class ModelSettings(Record, frozen=True, kw_only=True):
    """`[models.NAME]`: a model of the catalogue."""

    licence: str = ""
    """Its licence, an SPDX identifier where there is one."""
    origin: str = ""
    """ISO 3166-1 alpha-2 of where it was made."""
    languages: tuple[str, ...] = ()
    """What it speaks, by BCP 47: `ar`, `fr`, `zgh`, `sw`."""
    context_tokens_max: _Count = 32_768
    """Tokens of a request and its answer together, at most. A request that sets no maximum is held to cost so much
    until it is settled."""
    input_minor_per_million: Minor = 0
    """Price of a million tokens of requests, in minor units of the factory's currency."""
    output_minor_per_million: Minor = 0
    """Price of a million tokens of answers."""
    batch_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """What a request of a batch costs, in per cent of that; nothing for `gateway.batch_percent`."""
    replicas: tuple[ReplicaSettings, ...] = ()
    """Its servers, as `[[models.NAME.replicas]]`: `url`, `country` (else the factory's), `key_file`, `model` (what the
    server calls it), `facts` (as `[factory.facts]`), `external` (who runs it), `priority`,
    `requests_max`; or `service`, and perhaps `model`, `priority`, `requests_max`."""


def unsound(gateway: GatewaySettings, models: Mapping[str, ModelSettings]) -> str:
    """What the fields by themselves do not show to be wrong: field and reason, or nothing."""
    for name, model in models.items():
        for number, each in enumerate(model.replicas):
            where = f"models.{name}.replicas[{number}]"
            if bool(each.url) == bool(each.service):
                return f"{where}: has to have either `url` or `service`"
            if each.service and (each.country or each.key_file or each.external or each.facts is not None):
                return f"{where}: a service is of this factory: remove `country`, `key_file`, `external`, `facts`"
            if each.external and each.country is None:
                return (
                    f"{where}: an external provider needs `country`, where it answers: the rules ask for it"
                )
            if each.external and not _private(each.url):
                return (
                    f"{where}: an external provider needs an `https` address: what is asked crosses a border"
                )
    if gateway.class_default not in DATA_CLASSES:
        return f"gateway.class_default: `{gateway.class_default}` is not one of {', '.join(DATA_CLASSES)}"
    if gateway.stale_ms < 2 * gateway.snapshot_ms:
        return "gateway.stale_ms: has to be at least twice `gateway.snapshot_ms`"
    return ""


def _private(url: str) -> bool:
    """Whether nobody on the way can read what is asked there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")
