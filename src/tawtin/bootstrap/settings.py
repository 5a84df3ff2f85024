"""Settings: one `factory.toml`, read once at start.

Every field has a default but the factory's name and country. A wrong one is named with its line, and nothing starts.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from tawtin.engines.local.settings import LocalSettings
from tawtin.gateway import settings as serving
from tawtin.gateway.settings import GatewaySettings, ModelSettings
from tawtin.model.base import Record
from tawtin.model.health import BurnIn
from tawtin.model.money import Minor
from tawtin.model.rules import Facts
from tawtin.model.site import FactoryName
from tawtin.runtime.live import LiveSettings
from tawtin.runtime.readiness import ServingSettings
from tawtin.runtime.workspaces import WorkspaceSettings
from tawtin.web.console.oidc import settings as oidc
from tawtin.web.console.settings import ConsoleSettings
from tawtin.web.settings import WebSettings
from tawtin.web.workspaces.settings import ProxySettings

FILE = "factory.toml"
ENGINE_NAME = "^(?!local$|fleet$)[a-z][a-z0-9_-]{0,30}$"


class SettingsError(Exception):
    """The settings cannot be used; the message names file, line and field."""


class FactorySettings(Record, frozen=True, kw_only=True):
    """`[factory]`: what this factory is."""

    name: FactoryName
    """Shown to people and to other factories: ASCII without `/`, as it travels in headers."""
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    """ISO 3166-1 alpha-2 of the country whose soil it stands on."""
    operator: str = ""
    """The legal entity that runs it."""
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "MAD"
    """ISO 4217; prices and budgets are in its minor units."""
    carbon_g_per_kwh: Annotated[int, msgspec.Meta(ge=0, le=5_000)] = 0
    """Grams of CO2 equivalent for a kilowatt hour of its electricity, shown by `explain`; 0 where it is not known."""
    facts: Facts = Facts()
    """What residency rules may ask about the operator, its own word unless `attested` names who vouches for it."""


class OwnerSettings(Record, frozen=True, kw_only=True):
    """`[owner]`: the factory's own tenant, made at the first start."""

    tenant: str = "owner"
    """Its id."""
    name: str = ""
    """Its name."""
    network: bool = True
    """Whether its workloads may ask for the network."""


class PriceSettings(Record, frozen=True, kw_only=True):
    """`[prices]`: what an hour costs, in minor units."""

    cpu_hour: Minor = 0
    """One processor for one hour."""
    gpu_hour: dict[str, Minor] = {}
    """One GPU for one hour, by model; `"*"` prices every other one."""


class StoreSettings(Record, frozen=True, kw_only=True):
    """`[store]`: where state and bytes are kept."""

    journal: str = ""
    """`sqlite:///path` or `postgresql://...`; empty is `journal.db` in the data folder."""
    artifacts: str = ""
    """`file:///path` or `s3://bucket/prefix`; empty is `artifacts` in the data folder."""


class RulesSettings(Record, frozen=True, kw_only=True):
    """`[rules]`: where residency rules come from."""

    folder: str = ""
    """A folder of rule packs, relative to this file, that replace those of the same country; empty for none."""


class PeeringSettings(Record, frozen=True, kw_only=True):
    """`[peering]`: how other factories are spoken with."""

    ca_file: str = ""
    """Authorities for peers with an `https` address; empty for the system's."""
    artifact_bytes_max: int = 1 << 40
    """The most bytes that one artifact of a peer may have here."""
    guest_files_ms: Annotated[int, msgspec.Meta(ge=1)] = 3_600_000
    """How long the files of a peer's run stay here after it was settled. Then those that nothing else here names are
    deleted, and the log says so; logs stay for `local.retention_ms`."""


class WorkspacesSettings(WorkspaceSettings, frozen=True, kw_only=True):
    """`[workspaces]`: the way into workspaces, and when they rest."""

    proxy: ProxySettings = ProxySettings()
    """`[workspaces.proxy]`: where people reach them."""


class TelemetrySettings(Record, frozen=True, kw_only=True):
    """`[telemetry]`: what the factory says of itself."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious line that is written."""
    log_format: Literal["text", "json"] = "text"
    """`text` for people, `json` for machines: one object a line."""
    otlp_endpoint: str = ""
    """Where OpenTelemetry traces are sent (OTLP over HTTP); empty sends none. Needs `tawtin[otel]`."""


class PolicySettings(Record, frozen=True, kw_only=True):
    """`[policy]`: how decisions are made."""

    preemption: bool = True
    """Whether work of higher priority may interrupt work of lower priority."""
    backoff_ms: int = 1_000
    """Pause before a run that was interrupted, but not preempted, is tried again; it doubles each time."""
    backoff_ms_max: int = 300_000
    """Longest such pause."""
    roam_after_ms: int = 30_000
    """Peers are asked for work that is not expected to start here within this time."""
    run_guess_ms: int = 3_600_000
    """How long a run without a maximum duration is taken to last when starts are estimated."""


class Settings(Record, frozen=True, kw_only=True):
    """All of `factory.toml`."""

    data: str = "data"
    """The folder for everything the factory keeps, relative to this file."""
    factory: FactorySettings
    owner: OwnerSettings = OwnerSettings()
    prices: PriceSettings = PriceSettings()
    policy: PolicySettings = PolicySettings()
    burn_in: BurnIn = BurnIn()
    services: ServingSettings = ServingSettings()
    workspaces: WorkspacesSettings = WorkspacesSettings()
    rules: RulesSettings = RulesSettings()
    peering: PeeringSettings = PeeringSettings()
    store: StoreSettings = StoreSettings()
    api: WebSettings = WebSettings()
    console: ConsoleSettings = ConsoleSettings()
    pace: LiveSettings = LiveSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    local: LocalSettings = LocalSettings()
    gateway: GatewaySettings = GatewaySettings()
    models: dict[Annotated[str, msgspec.Meta(pattern=serving.NAME)], ModelSettings] = {}
    """`[models.NAME]`: models that the gateway serves, each with its replicas."""
    engines: dict[Annotated[str, msgspec.Meta(pattern=ENGINE_NAME)], dict[str, Any]] = {}
    """`[engines.NAME]`: further engines. `use` says which kind each is, `folder` where that is if it is your own, and
    the rest are settings of that kind."""


def load_settings(path: Path, overrides: dict[str, str] | None = None) -> Settings:
    """Read `factory.toml` at `path` (the file, or the folder that holds it).

    `overrides` are dotted names and TOML values, such as `{"api.port": "0"}`. Raises SettingsError.
    """
    file = path / FILE if path.is_dir() else path
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"no settings at `{file}` ({error}): make them with `tawtin init`"
        raise SettingsError(msg) from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{file}: {error}"
        raise SettingsError(msg) from error
    for name, value in (overrides or {}).items():
        _override(table, name, value)
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        said = _with_model(str(error), table)
        msg = f"{file}{_line(text, said)}: {_plain(said)}"
        raise SettingsError(msg) from error
    data = (file.parent / settings.data).resolve()
    rules = settings.rules
    if rules.folder:
        rules = RulesSettings(folder=str((file.parent / rules.folder).resolve()))
    return msgspec.structs.replace(
        settings,
        data=str(data),
        rules=rules,
        console=_console(file, text, settings.console),
        gateway=_gateway(file, text, settings),
        models={name: _model(file, each) for name, each in settings.models.items()},
        engines=_engines(file, text, settings),
    )


def _console(file: Path, text: str, console: ConsoleSettings) -> ConsoleSettings:
    """The console's settings, with absolute files. Raises SettingsError."""
    wrong = oidc.unsound(console.oidc)
    if wrong:
        line = _line(text, f" - at `$.{wrong.partition(':')[0]}`")
        msg = f"{file}{line}: {wrong}"
        raise SettingsError(msg)
    held = {name: getattr(console.oidc, name) for name in ("client_secret_file", "ca_file")}
    held = {name: str((file.parent / value).resolve()) for name, value in held.items() if value}
    return msgspec.structs.replace(console, oidc=msgspec.structs.replace(console.oidc, **held))


def _gateway(file: Path, text: str, settings: Settings) -> GatewaySettings:
    """The gateway's settings, with an absolute folder if one is named. Raises SettingsError."""
    wrong = serving.unsound(settings.gateway, settings.models)
    if wrong:
        line = _line(text, f" - at `$.{wrong.partition(':')[0]}`")
        msg = f"{file}{line}: {wrong}"
        raise SettingsError(msg)
    if not settings.gateway.folder:
        return settings.gateway
    return msgspec.structs.replace(
        settings.gateway, folder=str((file.parent / settings.gateway.folder).resolve())
    )


def _model(file: Path, model: ModelSettings) -> ModelSettings:
    """A model whose key files are absolute."""
    replicas = tuple(
        msgspec.structs.replace(each, key_file=str((file.parent / each.key_file).resolve()))
        if each.key_file
        else each
        for each in model.replicas
    )
    return msgspec.structs.replace(model, replicas=replicas)


def _engines(file: Path, text: str, settings: Settings) -> dict[str, dict[str, Any]]:
    """The engines' tables, with absolute folders. Raises SettingsError."""
    if not settings.engines and not settings.local.enabled:
        msg = f"{file}: local.enabled is false and there is no [engines.NAME]: nothing would run work"
        raise SettingsError(msg)
    found: dict[str, dict[str, Any]] = {}
    for name, table in settings.engines.items():
        where = f"engines.{name}"
        for key, value in (("use", table.get("use")), ("folder", table.get("folder", ""))):
            if not isinstance(value, str) or (key == "use" and not value):
                line = _line(text, f" - at `$.{where}.{key}`") or _line(text, f" - at `$.{where}`")
                msg = f'{file}{line}: {where}.{key} must be text, such as use = "slurm"'
                raise SettingsError(msg)
        folder = table.get("folder", "")
        found[name] = {**table, "folder": str((file.parent / folder).resolve()) if folder else ""}
    return found


def _override(table: dict[str, Any], name: str, value: str) -> None:
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    *parents, last = name.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
    table[last] = parsed


def _plain(message: str) -> str:
    """The message with the field first: `api.port: expected int, got str`."""
    text, _, place = message.partition(" - at `$.")
    field = place.rstrip("`")
    text = text[:1].lower() + text[1:]
    return f"{field}: {text}" if field else text


def _with_model(message: str, table: dict[str, Any]) -> str:
    """The message with the name of the model that it is about: a key of a dictionary is not in it."""
    unnamed = "`$.models[...]"
    if unnamed not in message:
        return message
    for name, each in table["models"].items():
        try:
            msgspec.convert(each, ModelSettings)
        except msgspec.ValidationError:
            return message.replace(unnamed, f"`$.models.{name}")
    return message


def _line(text: str, message: str) -> str:
    """`:12` for the line on which the field stands, or nothing where it cannot be told."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    place = message.partition(" - at `$.")[2].rstrip("`")
    *tables, last = [*filter(None, place.split("."))] or [""]
    if unknown:
        tables, last = [*tables, last] if last else [], unknown.group(1)
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.fullmatch(r"\s*\[+\s*([^\]]+?)\s*\]+\s*(#.*)?", line)
        if header:
            here = header.group(1)
            if here == ".".join([*tables, last]):
                return f":{number}"
        elif here == ".".join(tables) and re.match(rf"\s*\"?{re.escape(last)}\"?\s*=", line):
            return f":{number}"
    return ""
