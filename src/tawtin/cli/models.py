"""`tawtin models`, `tawtin endpoints` and `tawtin chat`: what is served, by what, and a conversation with it."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING, Any

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

    from tawtin.model.gateway import EndpointsView, ReplicaView, TokensUsed

TIMEOUT_S = 600
MICRO = 1_000_000
STATUS_CODES = {401: exits.DENIED, 403: exits.DENIED, 404: exits.NOT_FOUND, 429: exits.DENIED}


def _configure_models(verb: argparse.ArgumentParser) -> None:
    parser.example(verb, "tawtin models  # what can be asked, where it stands, and its price")
    parser.remote(verb)
    verb.set_defaults(call=run_models)


def _configure_endpoints(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin endpoints  # the gateway's address; for admins, replicas and how they do",
        "tawtin endpoints usage --month 2026-11  # tokens and their price",
    )
    verb.add_argument(
        "what", nargs="?", choices=("usage",), help="tokens that were used, instead of replicas"
    )
    verb.add_argument("--tenant", help="usage of this tenant alone (for admins)")
    verb.add_argument("--month", metavar="YYYY-MM", help="usage of this month alone (UTC)")
    parser.remote(verb)
    verb.set_defaults(call=run_endpoints)


def _configure_chat(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin chat atlas-7b  # line by line, until Ctrl-D",
        "tawtin chat atlas-7b -m 'translate: good morning' --class public",
        "tawtin chat atlas-7b --max-tokens 200 < question.txt",
    )
    verb.add_argument("model", metavar="MODEL", help="as `tawtin models` names it")
    verb.add_argument(
        "-m", "--message", default="", metavar="TEXT", help="what to say; else standard input, else lines"
    )
    verb.add_argument("--system", metavar="TEXT", help="what the model is told beforehand")
    verb.add_argument("--max-tokens", type=parser.count, metavar="N", help="longest answer")
    verb.add_argument(
        "--class", dest="data_class", metavar="CLASS", help="class of the data in the conversation"
    )
    verb.add_argument("--purpose", metavar="PURPOSE", help="purpose that a rule asks for")
    parser.remote(verb)
    verb.set_defaults(call=run_chat)


def run_models(arguments: argparse.Namespace) -> int:
    """Print the catalogue."""
    with session.connect(arguments) as client:
        found = client.endpoints()
    if arguments.json:
        output.emit({"items": found.models, "url": found.url})
        return exits.OK
    rows = [
        [
            each.name,
            ", ".join(each.countries) or "-",
            ", ".join(each.providers) or "-",
            ", ".join(each.languages) or "-",
            str(each.context_tokens_max),
            output.amount(each.input_minor_per_million, each.currency),
            output.amount(each.output_minor_per_million, each.currency),
            each.origin or "-",
            each.licence or "-",
        ]
        for each in found.models
    ]
    header = [
        "MODEL",
        "IN",
        "LAST RESORT",
        "LANGUAGES",
        "CONTEXT",
        "PER M IN",
        "PER M OUT",
        "ORIGIN",
        "LICENCE",
    ]
    print(output.columns(header, rows))
    print(f"OpenAI-compatible, with the same keys: {found.url}")
    return exits.OK


def run_endpoints(arguments: argparse.Namespace) -> int:
    """Print replicas, or what was used."""
    if arguments.what == "usage":
        return _usage(arguments)
    if arguments.tenant or arguments.month:
        raise exits.Fault("`--tenant` and `--month` go with `tawtin endpoints usage`")
    with session.connect(arguments) as client:
        found = client.endpoints()
    if arguments.json:
        output.emit(found)
        return exits.OK
    print(f"{found.url} by {found.workers} workers")
    if found.replicas:
        header = ["REPLICA", "IN", "BY", "PRIORITY", "STATE", "OPEN", "ANSWERED", "FAILED", "HEDGES", "URL"]
        print(output.columns(header, [_replica(each) for each in found.replicas]))
    return exits.OK


def _replica(each: ReplicaView) -> list[str]:
    state = "not asked yet" if not each.workers else "answers"
    if each.shut:
        state = f"left alone by {each.shut} of {each.workers} workers"
    counts = [str(number) for number in (each.open, each.requests, each.failures, each.hedges)]
    where = [each.country, each.provider or "-", str(each.priority)]
    return [each.id, *where, state, *counts, each.url]


def _usage(arguments: argparse.Namespace) -> int:
    if arguments.month and not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", arguments.month):
        raise exits.Fault(f"--month: `{arguments.month}` is no month", hint="write it as 2026-11")
    with session.connect(arguments) as client:
        rows = client.tokens(tenant=arguments.tenant, month=arguments.month)
        currency = session.currency(client)
    if arguments.json:
        output.emit({"items": rows, "currency": currency})
        return exits.OK
    if not rows:
        print("no model was asked; a request counts when it is settled")
        return exits.OK
    header = [
        "TENANT",
        "MONTH",
        "MODEL",
        "IN",
        "BY",
        "REQUESTS",
        "TOKENS IN",
        "TOKENS OUT",
        "ESTIMATED",
        "PRICE",
    ]
    print(output.columns(header, [_used(each, currency) for each in rows]))
    return exits.OK


def _used(each: TokensUsed, currency: str) -> list[str]:
    counts = [str(number) for number in (each.requests, each.tokens_in, each.tokens_out, each.estimated)]
    price = output.amount((each.cost_micro + MICRO // 2) // MICRO, currency)
    where = [each.country or "-", each.provider or "-"]
    return [each.tenant, each.month, each.model, *where, *counts, price]


# --- a conversation --------------------------------------------------------------------------------------------------


def run_chat(arguments: argparse.Namespace) -> int:
    """Talk to a model; what it says is printed as it comes."""
    with session.connect(arguments) as client:
        where = client.endpoints()
        talk = _Talk(arguments, where, client.target.key)
        said = arguments.message
        if not said and not sys.stdin.isatty():
            said = sys.stdin.read()
            if not said.strip():
                raise exits.Fault("there is nothing to say: standard input is empty")
        if said:
            talk.say(said)
            return exits.OK
        while (line := _line()) is not None:
            if line.strip():
                talk.say(line)
    return exits.OK


def _line() -> str | None:
    try:
        return input("> ")
    except EOFError:
        print()
        return None


class _Talk:
    """A conversation, which the model is told again with each message."""

    def __init__(self, arguments: argparse.Namespace, where: EndpointsView, key: str) -> None:
        self._arguments = arguments
        self._url = where.url
        self._key = key
        self._messages: list[dict[str, str]] = []
        if arguments.system:
            self._messages.append({"role": "system", "content": arguments.system})

    def say(self, text: str) -> None:
        """Say something, and print the answer."""
        self._messages.append({"role": "user", "content": text})
        body: dict[str, Any] = {"model": self._arguments.model, "messages": self._messages, "stream": True}
        if self._arguments.max_tokens:
            body["max_tokens"] = self._arguments.max_tokens
        answer = self._ask(body)
        pieces: list[str] = []
        for piece in _pieces(answer):
            pieces.append(piece)
            if not self._arguments.json:
                # line breaks are the model's to make; control characters are not
                print("\n".join(map(output.clean, piece.split("\n"))), end="", flush=True)
        names = ("factory", "country", "provider", "receipt")
        told = {name: answer.headers.get(f"x-tawtin-{name}", "") for name in names}
        if self._arguments.json:
            output.emit({"content": "".join(pieces), **told})
        else:
            print()
            output.note(", ".join(filter(None, told.values())))
        self._messages.append({"role": "assistant", "content": "".join(pieces)})

    def _ask(self, body: dict[str, Any]) -> HTTPResponse:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection
        from urllib.parse import urlsplit

        parts = urlsplit(self._url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        for name, value in (("class", self._arguments.data_class), ("purpose", self._arguments.purpose)):
            if value:
                headers[f"x-tawtin-{name}"] = value
        try:
            connection.request("POST", f"{parts.path}/chat/completions", json.dumps(body).encode(), headers)
            answer = connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:
            raise exits.Fault(f"cannot ask `{self._url}`: {error}", exits.UNREACHABLE) from None
        if answer.status != 200:
            code = STATUS_CODES.get(answer.status, exits.FACTORY if answer.status >= 500 else exits.USAGE)
            raise exits.Fault(_error_in(answer.read()), code)
        return answer


def _error_in(body: bytes) -> str:
    try:
        return output.clean(str(json.loads(body)["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        return "the answer cannot be read"


def _pieces(answer: HTTPResponse) -> Iterator[str]:
    from http.client import HTTPException

    whole = False
    try:
        for line in answer:
            data = line.strip().removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or data == b"[DONE]":
                whole = whole or data == b"[DONE]"
                continue
            found = json.loads(data)
            if "error" in found:
                raise exits.Fault(_error_in(data), exits.FACTORY)
            for choice in found.get("choices", []):
                yield choice.get("delta", {}).get("content") or ""
    except (OSError, HTTPException, ValueError) as error:
        raise exits.Fault(f"the answer broke off: {error}", exits.FACTORY) from None
    if not whole:
        raise exits.Fault("the answer broke off", exits.FACTORY)


VERBS = {"models": _configure_models, "endpoints": _configure_endpoints, "chat": _configure_chat}
