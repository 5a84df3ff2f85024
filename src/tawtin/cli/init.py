"""`tawtin init`: one commented settings file, a private data folder, and where commands find the factory."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from tawtin.cli import exits, output, parser, target

TEMPLATE = """\
# Settings of a tawtin factory. Every field that is left out has its default; docs/reference/settings.md has them all.
# `tawtin doctor` checks them, `tawtin up` starts the factory with them. Lines behind `# ` are examples to uncomment.

data = "data"                 # everything the factory keeps, relative to this file; nobody else may read it

[factory]
name = {name}
country = {country}               # ISO 3166-1: the soil it stands on. Residency rules start from it
operator = {operator}             # the legal entity that runs it
currency = {currency}             # ISO 4217; prices and budgets are in its minor units
# carbon_g_per_kwh = 610      # of its electricity, which `tawtin explain` shows

# What residency rules may ask about the operator. What is not said is unknown, and refused where a rule needs it.
# [factory.facts]
# law = {country}                 # under whose law the operator is a company
# control_plane = {country}       # from where the factory is managed and supervised
# keys = {country}                # where encryption keys are held

[owner]
tenant = "owner"              # made at the first start, with an admin key in data/owner.key

[prices]                      # minor units an hour
cpu_hour = {cpu_hour}

[prices.gpu_hour]
"*" = {gpu_hour}                     # every GPU model that has no line of its own, such as the next one
# H100 = 3500

[api]
host = "127.0.0.1"            # keep it on loopback unless a proxy with TLS stands in front
port = {port}                   # 0 lets the system choose
# blob_bytes_max = 68719476736  # largest file that may be uploaded

# [console]                   # the pages, at the same address
# session_hours = 12          # how long a sign-in counts
# places = {{{name} = [33.6, -7.6]}}   # latitude and longitude on the map; else a country's capital

# Models that run already, behind one OpenAI-compatible door; docs/how-to/models.md
# [gateway]
# port = 8480                 # on loopback unless `host` says otherwise
# batch_percent = 50          # what a request of a batch costs, in per cent of the model's price
# file_bytes_max = 209715200  # longest file of requests that may be uploaded
# hold_seconds_max = 300      # how long a request waits for a model whose service rests or starts
# [models.atlas-7b]
# licence = "Apache-2.0"
# languages = ["ar", "fr"]
# context_tokens_max = 32768
# input_minor_per_million = 40
# output_minor_per_million = 160
# [[models.atlas-7b.replicas]]
# url = "http://10.0.0.7:8000"         # vLLM, llama.cpp, Ollama: what speaks OpenAI's API
# country = {country}              # where it stands, if not here
# [[models.atlas-7b.replicas]]
# url = "https://api.example.com"
# country = "US"
# external = "Example AI"              # somebody outside: a last resort, for tenants that may use it
# [gateway.tenants.lab]
# external = true

# [services]
# probe_ms = 5000             # how often a replica that is ready is asked whether it still is
# unready_ms_max = 180000     # one that is not for so long is started again
# scale_ms = 1000             # how often the load of services that follow theirs is looked at

# [workspaces]
# url = "https://{{label}}.ws.example"  # where browsers find them behind a proxy in front that speaks TLS
# session_hours = 12          # a browser that was let in stays so at most
# [workspaces.proxy]
# port = 8490                 # where they are on this machine; any free port if it is taken
# domain = "localhost"        # each has a name of its own below it, all of which have to lead here

# [policy]
# preemption = true           # whether work of higher priority may interrupt work of lower priority
# roam_after_ms = 30000       # peers are asked for work that is not expected to start here within this time

# [burn_in]
# script = "/opt/burn/gpu_burn 600"    # what a sick GPU has to pass before `tawtin node return` brings it back
# automatic = true                     # once by itself, when it is idle and well again

# [store]
# journal = "postgresql:///tawtin"     # needs tawtin[postgres]; else SQLite in the data folder
# artifacts = "s3://bucket/prefix"     # needs tawtin[s3]; else the data folder

# [rules]
# folder = "rules"            # rule packs of your own, which replace those of the same country

# [peering]
# ca_file = "/etc/ssl/peers.pem"       # authorities for peers with https; else the system's
# artifact_bytes_max = 1099511627776   # the most bytes that one file of a peer may have here

# [telemetry]
# log_format = "json"         # one object a line
# otlp_endpoint = "http://127.0.0.1:4318/v1/traces"  # needs tawtin[otel]

[local]                       # the engine on this machine
expose = {expose}                   # folders that every run may read: a Python environment, CUDA
# enabled = false             # only if this machine is to run nothing itself, and a cluster does
# reserve_cpus_milli = 1000   # thousandths of processors that are kept from runs, as are the next two
# reserve_memory_mib = 512
# reserve_disk_mib = 1024
{gpus}
# A cluster as an engine, beside this machine or instead of it. As many as there are, each under a name of its own.
# [engines.hpc]
# use = "slurm"               # kinds that are installed: {kinds}
# root = "/shared/tawtin"     # every node sees it at this path
# partitions = ["gpu"]        # empty for all that are up
"""
GPUS_FOUND = """\
# GPUs are found through NVML. Where there are none, declare some for trying things out; everything then says so:
# [[local.gpus_declared]]
# model = "H100"
# count = 4
"""
GPUS_DECLARED = """
[[local.gpus_declared]]       # not real: declared for trying things out, and everything says so
model = {model}
count = {count}
"""
CLIENT_TEXT = """\
# Where `tawtin ps`, `tawtin run` and the others find the factory. For another one: factory = "https://host:port"
address_file = "data/address.json"
key_file = "data/owner.key"
"""


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin init  # in ~/.tawtin, or $TAWTIN_HOME",
        "tawtin init /srv/casablanca --name Casablanca --country MA --operator 'Example Telecom'",
        "tawtin init lab --declare-gpus H100:4  # GPUs to try things out with; they are not real",
    )
    verb.add_argument(
        "dir", nargs="?", metavar="DIR", help="folder to make it in; else $TAWTIN_HOME, else ~/.tawtin"
    )
    verb.add_argument("--name", help="name of the factory; else the folder's")
    verb.add_argument("--country", default="MA", metavar="CC", help="two letters of ISO 3166-1 (default: MA)")
    verb.add_argument("--operator", default="", help="the legal entity that runs it")
    verb.add_argument(
        "--currency", metavar="CCC", help="three letters of ISO 4217 (default: the country's own)"
    )
    verb.add_argument(
        "--cpu-hour", type=int, default=0, metavar="N", help="price of a processor hour, minor units"
    )
    verb.add_argument("--gpu-hour", type=int, default=0, metavar="N", help="price of a GPU hour, minor units")
    verb.add_argument("--port", type=int, default=8470, help="port of the API; 0 lets the system choose")
    verb.add_argument(
        "--declare-gpus", metavar="MODEL:N", help="GPUs that are not real, for trying things out"
    )
    verb.add_argument(
        "--expose", action="append", default=[], metavar="PATH", help="folder that every run may read"
    )
    parser.local(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the files. Never overwrites settings."""
    folder = Path(arguments.dir or target.home()).expanduser().resolve()
    settings = folder / target.FACTORY
    if settings.exists():
        raise exits.Fault(
            f"`{settings}` is there already",
            exits.CONFLICT,
            hint="edit it, or name another folder: tawtin init DIR",
        )
    _check(arguments)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(mode=0o700, exist_ok=True)
        (folder / "data").chmod(0o700)
        _write(settings, _text(arguments, folder))
        if not (folder / target.CLIENT).exists():
            _write(folder / target.CLIENT, CLIENT_TEXT)
    except OSError as error:
        raise exits.Fault(
            f"cannot make a factory in `{folder}`: {error}", hint="name another folder"
        ) from None
    _prove(settings)
    if arguments.json:
        output.emit(
            {"settings": str(settings), "data": str(folder / "data"), "client": str(folder / target.CLIENT)}
        )
        return exits.OK
    print(f"settings: {settings}")
    print(f"data:     {folder / 'data'} (for this user alone)")
    where = "" if str(folder) == target.home() else f" {arguments.dir}"
    print(f"next:     tawtin doctor{where}; tawtin up{where}")
    if where:
        print(f"then:     export TAWTIN_HOME={folder}   # so that other commands find it")
    return exits.OK


def _check(arguments: argparse.Namespace) -> None:
    from tawtin.model.codes import COUNTRIES, CURRENCIES

    if arguments.country not in COUNTRIES:
        raise exits.Fault(
            f"--country: `{arguments.country}` is not understood", hint="write it like --country MA"
        )
    if arguments.currency is None and arguments.country not in CURRENCIES:
        raise exits.Fault(f"the money of `{arguments.country}` is not known here", hint="add --currency CCC")
    arguments.currency = arguments.currency or CURRENCIES[arguments.country]
    for flag, value, pattern, like in (
        ("--name", arguments.name or "x", r"(?=.{1,63}$)[!-.0-~]+( [!-.0-~]+)*", "'Cape Town'"),
        ("--currency", arguments.currency, "[A-Z]{3}", "MAD"),
        ("--declare-gpus", arguments.declare_gpus or "X:1", r"[A-Za-z0-9_.-]+:[1-9]\d?", "H100:4"),
    ):
        if not re.fullmatch(pattern, value):
            raise exits.Fault(f"{flag}: `{value}` is not understood", hint=f"write it like {flag} {like}")
    for flag, number in (("--cpu-hour", arguments.cpu_hour), ("--gpu-hour", arguments.gpu_hour)):
        if number < 0:
            raise exits.Fault(f"{flag}: `{number}` is below 0")


def _text(arguments: argparse.Namespace, folder: Path) -> str:
    from tawtin.engines.manifest import found

    model, _, count = (arguments.declare_gpus or "").partition(":")
    return TEMPLATE.format(
        name=_quoted(_name(arguments.name, folder)),
        country=_quoted(arguments.country),
        operator=_quoted(arguments.operator),
        currency=_quoted(arguments.currency),
        cpu_hour=arguments.cpu_hour,
        gpu_hour=arguments.gpu_hour,
        port=arguments.port,
        expose=_quoted([str(Path(each).resolve()) for each in arguments.expose]),
        kinds=", ".join(name for name in sorted(found()) if name != "local"),
        gpus=GPUS_DECLARED.format(model=_quoted(model), count=count) if model else GPUS_FOUND,
    )


def _name(given: str | None, folder: Path) -> str:
    """The name: as given, or the folder's, with what cannot travel in headers left out."""
    return given or re.sub(r"[^0-9A-Za-z._-]+", "-", folder.name).strip(".-")[:63] or "factory"


def _quoted(text: str | list[str]) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _prove(settings: Path) -> None:
    from tawtin.bootstrap.settings import SettingsError, load_settings

    try:
        load_settings(settings)
    except SettingsError as error:
        settings.unlink()
        raise exits.Fault(str(error)) from None


VERBS = {"init": _configure}
