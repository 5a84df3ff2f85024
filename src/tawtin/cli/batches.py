"""`tawtin batches`: batches of requests for models, how far they are, and their end."""

from __future__ import annotations

import argparse
import json
from typing import Any, cast
from urllib.parse import quote, urlencode

from tawtin.cli import exits, output, parser, session

TIMEOUT_S = 60
PAGE = 100
CODES = {401: exits.DENIED, 403: exits.DENIED, 404: exits.NOT_FOUND}


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin batches ls",
        "tawtin batches show batch_01m8h2",
        "tawtin batches cancel batch_01m8h2",
    )
    actions = parser.verbs(verb)
    listed = parser.sub(actions, "ls", "list batches, newest first")
    parser.example(listed, "tawtin batches ls --limit 10")
    listed.add_argument("--limit", type=parser.count, default=20, metavar="N", help="so many at most")
    listed.set_defaults(call=ls)
    show = parser.sub(actions, "show", "show one batch, and what is wrong with it")
    parser.example(show, "tawtin batches show batch_01m8h2")
    show.set_defaults(call=show_)
    cancel = parser.sub(actions, "cancel", "end a batch; what was answered is kept")
    parser.example(cancel, "tawtin batches cancel batch_01m8h2")
    cancel.set_defaults(call=cancel_)
    for action in (show, cancel):
        action.add_argument("batch", metavar="BATCH", help="its id, or how that begins")
    for action in actions.choices.values():
        parser.remote(action)


def ls(arguments: argparse.Namespace) -> int:
    """List batches."""
    found = _Gateway(arguments).batches(arguments.limit)
    if arguments.json:
        output.emit({"items": found})
        return exits.OK
    if not found:
        print("no batches: OpenAI's client makes them, as docs/how-to/models.md shows")
        return exits.OK
    header = ["BATCH", "STATUS", "MODEL", "REQUESTS", "ANSWERED", "FAILED", "MADE", "WORKLOAD"]
    print(output.columns(header, [_row(each) for each in found]))
    return exits.OK


def _row(batch: dict[str, Any]) -> list[str]:
    counts = [str(batch["request_counts"][name]) for name in ("total", "completed", "failed")]
    made = output.moment(batch["created_at"] * 1000)
    return [batch["id"], batch["status"], batch["model"] or "-", *counts, made, batch["workload"] or "-"]


def show_(arguments: argparse.Namespace) -> int:
    """Show one."""
    gateway = _Gateway(arguments)
    _print(arguments, gateway.ask("GET", f"/batches/{gateway.resolve(arguments.batch)}"))
    return exits.OK


def cancel_(arguments: argparse.Namespace) -> int:
    """End one."""
    gateway = _Gateway(arguments)
    _print(arguments, gateway.ask("POST", f"/batches/{gateway.resolve(arguments.batch)}/cancel"))
    return exits.OK


def _print(arguments: argparse.Namespace, batch: dict[str, Any]) -> None:
    if arguments.json:
        output.emit(batch)
        return
    counts = batch["request_counts"]
    print(f"{batch['id']}: {batch['status']}, {batch['endpoint']}, {batch['model'] or 'no model yet'}")
    print(f"{counts['completed']} of {counts['total']} answered, {counts['failed']} failed")
    for name in ("input_file_id", "output_file_id", "error_file_id", "workload"):
        if batch[name]:
            print(f"{name.removesuffix('_id').replace('_', ' ')}: {batch[name]}")
    errors: list[dict[str, Any]] = batch["errors"]["data"] if batch["errors"] else []
    for each in errors:
        where = f"line {each['line']}: " if each["line"] else ""
        print(f"{where}{output.clean(each['message'])} ({each['code']})")


class _Gateway:
    """The gateway of a factory, with the caller's key."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Find it."""
        with session.connect(arguments) as client:
            self._url = client.endpoints().url
            self._key = client.target.key

    def batches(self, most: int) -> list[dict[str, Any]]:
        """The newest batches."""
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while len(found) < most:
            limit = min(PAGE, most - len(found))
            page = self.ask("GET", f"/batches?{urlencode({'limit': str(limit), **after})}")
            found += page["data"]
            if not page["has_more"]:
                break
            after = {"after": page["last_id"]}
        return found

    def resolve(self, name: str) -> str:
        """The id that begins so, percent-encoded; the name itself if there is none."""
        known = [each["id"] for each in self.batches(10 * PAGE) if each["id"].startswith(name)]
        if len(known) > 1 and name not in known:
            raise exits.Fault(f"`{name}` is how several batches begin: {', '.join(known[:5])}")
        return quote(known[0] if len(known) == 1 else name, safe="")

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """What it answers."""
        from http.client import HTTPConnection, HTTPException, HTTPSConnection
        from urllib.parse import urlsplit

        parts = urlsplit(self._url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, parts.path + path, headers={"authorization": f"Bearer {self._key}"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise exits.Fault(f"cannot ask `{self._url}`: {error}", exits.UNREACHABLE) from None
        finally:
            connection.close()
        if answer.status != 200:
            code = CODES.get(answer.status, exits.FACTORY if answer.status >= 500 else exits.USAGE)
            raise exits.Fault(output.clean(str(said["error"]["message"])), code)
        return cast("dict[str, Any]", said)


VERBS = {"batches": _configure}
