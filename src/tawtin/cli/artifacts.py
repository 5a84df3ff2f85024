"""`tawtin artifacts`: list, fetch, upload and drop content-addressed files."""

from __future__ import annotations

import argparse
from pathlib import Path

from tawtin.cli import exits, output, parser, session


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin artifacts list",
        "tawtin artifacts get sha256:9f86d0 model/  # the beginning of an id is enough",
        "tawtin artifacts put data/ --name digits --class public --origin MA",
        "tawtin artifacts rm sha256:9f86d0",
    )
    actions = parser.verbs(verb)
    listed = parser.sub(actions, "list", "list artifacts, newest first")
    parser.example(listed, "tawtin artifacts list --limit 20")
    listed.add_argument("--tenant", help="whose; else your own (for admins)")
    listed.add_argument(
        "-n", "--limit", type=parser.count, default=100, help="at most so many (default: 100)"
    )
    listed.set_defaults(call=list_)
    get = parser.sub(actions, "get", "fetch an artifact into a folder")
    parser.example(get, "tawtin artifacts get sha256:9f86d0 model/")
    get.add_argument("id", help="id, or the beginning of one")
    get.add_argument(
        "folder", nargs="?", default=".", metavar="FOLDER", help="where to put it (default: here)"
    )
    get.set_defaults(call=get_)
    put = parser.sub(actions, "put", "upload a file or a folder")
    parser.example(put, "tawtin artifacts put data/ --name digits")
    put.add_argument("path", metavar="PATH", help="a file or a folder; links are not followed")
    put.add_argument("--name", default="", help="for people; else that of the file or folder")
    put.add_argument(
        "--class", dest="data_class", default="public", metavar="CLASS", help="of data (default: public)"
    )
    put.add_argument(
        "--origin", default="", metavar="CC", help="law of the data's origin; else this country's"
    )
    put.set_defaults(call=put_)
    drop = parser.sub(actions, "rm", "give up an artifact")
    parser.example(drop, "tawtin artifacts rm sha256:9f86d0")
    drop.add_argument("id", nargs="+", help="id, or the beginning of one")
    drop.set_defaults(call=rm)
    for action in actions.choices.values():
        parser.remote(action)


def list_(arguments: argparse.Namespace) -> int:
    """List."""
    with session.connect(arguments) as client:
        items = session.artifacts(client, tenant=arguments.tenant, limit=arguments.limit)
    if arguments.json:
        output.emit({"items": items})
        return exits.OK
    rows = [
        [
            each.id[: len("sha256:") + 12],
            output.clean(each.name),
            output.size(each.size_bytes),
            str(each.files or "-"),
            each.data_class,
            each.origin or "-",
            output.moment(each.created_ms),
            each.run,
        ]
        for each in items
    ]
    print(output.columns(["ARTIFACT", "NAME", "SIZE", "FILES", "CLASS", "ORIGIN", "MADE", "BY RUN"], rows))
    return exits.OK


def get_(arguments: argparse.Namespace) -> int:
    """Fetch: every file is checked against its digest before it gets its name."""
    folder = Path(arguments.folder)
    with session.connect(arguments) as client:
        view = session.resolve_artifact(client, arguments.id)
        client.download(view.artifact.id, folder)
    if arguments.json:
        output.emit(
            {
                "id": view.artifact.id,
                "folder": str(folder),
                "files": len(view.manifest.files),
                "bytes": view.artifact.size_bytes,
            }
        )
    else:
        print(f"{len(view.manifest.files)} files, {output.size(view.artifact.size_bytes)}, in {folder}")
    return exits.OK


def put_(arguments: argparse.Namespace) -> int:
    """Upload."""
    from tawtin.cli.transfer import upload

    path = Path(arguments.path)
    name = arguments.name or path.resolve().name
    with session.connect(arguments) as client:
        artifact = upload(client, path, name=name, data_class=arguments.data_class, origin=arguments.origin)
    if arguments.json:
        output.emit(artifact)
    else:
        print(artifact.id)
    return exits.OK


def rm(arguments: argparse.Namespace) -> int:
    """Drop."""
    with session.connect(arguments) as client:
        found = [session.resolve_artifact(client, each).artifact.id for each in arguments.id]
        for each in found:
            client.drop_artifact(each)
    if arguments.json:
        output.emit({"dropped": found})
    else:
        print("\n".join(f"{each}  dropped" for each in found))
    return exits.OK


VERBS = {"artifacts": _configure}
