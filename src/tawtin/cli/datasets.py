"""`tawtin data`: give data a name, a class and an origin; specs read it by that name and are judged by its law."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.artifact import Artifact

SHORT = len("sha256:") + 12


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin data put census-2024 census/ --class personal --origin MA",
        "tawtin data put scores sha256:9f86d0  # an artifact that is there, such as an output",
        "tawtin data ls",
        "tawtin data show census-2024",
    )
    actions = parser.verbs(verb)
    put = parser.sub(actions, "put", "upload data under a name, or give the name to newer data")
    parser.example(put, "tawtin data put census-2024 census/ --class personal --origin MA")
    put.add_argument("name", metavar="NAME", help="as it stands in `data.datasets` of specs")
    put.add_argument("path", metavar="PATH", help="a file, a folder, or an artifact: sha256:...")
    put.add_argument("--class", dest="data_class", metavar="CLASS", help="public, personal, financial ...")
    put.add_argument(
        "--origin", default="", metavar="CC", help="law of the data's origin; else this country's"
    )
    put.set_defaults(call=put_)
    listed = parser.sub(actions, "ls", "list datasets by name")
    parser.example(listed, "tawtin data ls --json")
    listed.set_defaults(call=ls)
    show = parser.sub(actions, "show", "show one dataset and the places that hold it")
    parser.example(show, "tawtin data show census-2024")
    show.add_argument("name", metavar="NAME", help="of the dataset")
    show.set_defaults(call=show_)
    for action in actions.choices.values():
        action.add_argument("--tenant", help="whose; else your own (for admins)")
        parser.remote(action)


def put_(arguments: argparse.Namespace) -> int:
    """Upload and name, or name what is there already."""
    with session.connect(arguments) as client:
        known = arguments.path.startswith("sha256:")
        artifact = _named(client, arguments) if known else _uploaded(client, arguments)
        who = client.whoami()
    if arguments.json:
        output.emit(artifact)
    else:
        law = ", ".join(_laws(artifact, who.country))
        print(f"{arguments.name}: {law}, {output.size(artifact.size_bytes)}, {artifact.id[:SHORT]}")
    return exits.OK


def _uploaded(client: Client, arguments: argparse.Namespace) -> Artifact:
    from tawtin.cli.transfer import upload

    if not arguments.data_class:
        raise exits.Fault(
            "--class: say what the data is, as rules go by it",
            hint="--class public where anybody may have it; personal, financial, ...: docs/reference/rules.md",
        )
    return upload(
        client,
        Path(arguments.path),
        name=arguments.name,
        data_class=arguments.data_class,
        origin=arguments.origin.upper(),
        dataset=arguments.name,
        tenant=arguments.tenant,
    )


def _named(client: Client, arguments: argparse.Namespace) -> Artifact:
    from tawtin.client import calls
    from tawtin.client.flows import send

    view = session.resolve_artifact(client, arguments.path)
    held = view.artifact
    call = calls.put_artifact(
        view.manifest,
        name=held.name,
        data_class=arguments.data_class or held.data_class,
        origin=arguments.origin.upper() or held.origin,
        dataset=arguments.name,
        tenant=arguments.tenant,
    )
    return client.finish(send(call))


def ls(arguments: argparse.Namespace) -> int:
    """List."""
    with session.connect(arguments) as client:
        found = session.datasets(client, tenant=arguments.tenant)
        who = client.whoami()
    if arguments.json:
        output.emit({"items": [{"name": name, "artifact": each} for name, each in found.items()]})
        return exits.OK
    rows = [
        [
            output.clean(name),
            " ".join(law.partition(" of ")[0] for law in _laws(each, who.country)),
            " ".join(law.partition(" of ")[2] for law in _laws(each, who.country)),
            output.size(each.size_bytes),
            str(each.files or "-"),
            ", ".join(_places(each, who.factory)),
            each.id[:SHORT],
        ]
        for name, each in found.items()
    ]
    print(output.columns(["NAME", "CLASS", "ORIGIN", "SIZE", "FILES", "PLACES", "ARTIFACT"], rows))
    return exits.OK


def show_(arguments: argparse.Namespace) -> int:
    """Print all about one."""
    with session.connect(arguments) as client:
        found = session.datasets(client, tenant=arguments.tenant)
        who = client.whoami()
    each = found.get(arguments.name)
    if each is None:
        hint = "tawtin data ls lists them"
        raise exits.Fault(f"there is no dataset `{arguments.name}`", exits.NOT_FOUND, hint=hint)
    if arguments.json:
        output.emit({"name": arguments.name, "artifact": each})
        return exits.OK
    lines = [
        ("name", output.clean(arguments.name)),
        ("law", ", ".join(_laws(each, who.country))),
        ("size", f"{output.size(each.size_bytes)}, {each.files or '-'} files"),
        ("places", ", ".join(_places(each, who.factory))),
        ("made", output.moment(each.created_ms) + (f" by run {each.run}" if each.run else "")),
        ("artifact", each.id),
    ]
    print("\n".join(f"{name + ':':<11}{text}" for name, text in lines))
    return exits.OK


def _laws(artifact: Artifact, country: str) -> list[str]:
    """Each law that it is under, such as `personal of MA`."""
    first = f"{artifact.data_class} of {artifact.origin or country}"
    return [first, *(f"{law.data_class} of {law.origin or country}" for law in artifact.more)]


def _places(artifact: Artifact, factory: str) -> list[str]:
    return [*([factory] if artifact.here else []), *artifact.places]


VERBS = {"data": _configure}
