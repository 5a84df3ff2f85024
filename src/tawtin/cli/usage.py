"""`tawtin usage` and `tawtin localisation`: what runs and requests for models used and cost, how much of it at home."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.model.tenant import Account
    from tawtin.model.views import Localised, Rates, Share, Teller

_NOTHING = "nothing was used; a run counts when it has ended, a request for a model some seconds after"


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin usage  # your own; for admins, of all tenants",
        "tawtin usage --tenant lab --month 2026-11 --json",
    )
    _configure_filters(verb)
    verb.set_defaults(call=run)


def _configure_localisation(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin localisation  # your own; for admins, of all tenants and their sum",
        "tawtin localisation --by network --since 2026-10  # this factory, and what each peer says of itself",
        "tawtin localisation --by country --month 2026-11 --json",
    )
    verb.add_argument(
        "--by",
        choices=("tenant", "factory", "country", "network"),
        default="tenant",
        help="whose rate (default: tenant); country is the home of tenants; all but tenant are for admins",
    )
    _configure_filters(verb)
    verb.add_argument("--since", metavar="YYYY-MM", help="from this month on (UTC)")
    verb.add_argument("--until", metavar="YYYY-MM", help="up to this month, itself included (UTC)")
    verb.set_defaults(call=run_localisation)


def _configure_filters(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--tenant", help="only this tenant's (for admins)")
    verb.add_argument("--month", metavar="YYYY-MM", help="only this month (UTC)")
    parser.remote(verb)


def _check_month(arguments: argparse.Namespace, *options: str) -> None:
    for option in ("month", *options):
        said = getattr(arguments, option)
        if said and not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", said):
            raise exits.Fault(f"--{option}: `{said}` is no month", hint="write it as 2026-11")


def run(arguments: argparse.Namespace) -> int:
    """Print the accounts."""
    _check_month(arguments)
    with session.connect(arguments) as client:
        accounts = client.usage(tenant=arguments.tenant, month=arguments.month)
        currency = session.currency(client)
    if arguments.json:
        output.emit({"items": accounts, "currency": currency})
        return exits.OK
    if not accounts:
        print(_NOTHING)
        return exits.OK
    header = [
        "TENANT",
        "MONTH",
        "RUNS",
        "WALL",
        "CPU",
        "GPU",
        "ENERGY",
        "REQUESTS",
        "TOKENS",
        "OF MODELS",
        "PRICE",
    ]
    print(output.columns(header, [_row(account, currency) for account in accounts]))
    return exits.OK


def _row(account: Account, currency: str) -> list[str]:
    gpus = ", ".join(
        f"{output.span(spent)} {model}" for model, spent in sorted(account.gpu_ms.items()) if spent
    )
    return [
        account.tenant,
        account.month,
        str(account.runs),
        output.span(account.wall_ms),
        output.span(account.cpu_ms),
        gpus or "-",
        f"{account.energy_mj / 3.6e9:.3g} kWh" if account.energy_mj else "-",
        *_asked(account, currency),
        output.amount(account.cost_minor + rounded(account.tokens_micro), currency),
    ]


def _asked(account: Account, currency: str) -> tuple[str, str, str]:
    """How many requests for models there were, their tokens, and what these cost."""
    asked = account.models.values()
    if not asked:
        return "-", "-", "-"
    tokens = sum(each.tokens_in + each.tokens_out for each in asked)
    price = output.amount(rounded(account.tokens_micro), currency)
    return str(sum(each.requests for each in asked)), str(tokens), price


def rounded(micro: int) -> int:
    """Millionths of a minor unit as minor units, half upwards: to be shown, not to be added up."""
    return (micro + 500_000) // 1_000_000


def run_localisation(arguments: argparse.Namespace) -> int:
    """Print the shares."""
    _check_month(arguments, "since", "until")
    with session.connect(arguments) as client:
        found = client.localisation(
            by=arguments.by,
            tenant=arguments.tenant,
            month=arguments.month,
            since=arguments.since,
            until=arguments.until,
        )
    if arguments.json:
        output.emit(found)
        return exits.OK
    rows = [row for each in found.items for row in _shares(each, found)]
    header = [arguments.by.upper(), "MONTH", "OF", "USED", "AT HOME", "ON THE CONTINENT", "OUTSIDE"]
    if arguments.by == "network":
        header = ["FACTORY", *header[1:], "SAID BY"]
    print(output.columns(header, rows) if rows else _NOTHING)
    for line in _words_of(found.peers):
        print(line)
    return exits.OK


def _shares(each: Localised, found: Rates) -> list[list[str]]:
    """One row for each resource that was used."""
    rows: list[list[str]] = []
    amounts: tuple[tuple[str, Share, str], ...] = (
        ("GPU time", each.gpu_ms, output.span(_total(each.gpu_ms))),
        ("CPU time", each.cpu_ms, output.span(_total(each.cpu_ms))),
        ("bytes", each.bytes, output.size(_total(each.bytes))),
        ("runs", each.runs, str(_total(each.runs))),
        ("tokens", each.tokens, str(_total(each.tokens))),
        ("requests", each.requests, str(_total(each.requests))),
    )
    whose = each.country if found.by.value == "country" else each.tenant or each.factory or "(all)"
    for what, share, used in amounts:
        if _total(share):
            points = (share.home_bp, share.continent_bp, share.outside_bp)
            shares = [f"{point // 100}.{point % 100:02d} %" for point in points]
            if each.country:
                shares[0] += f" ({each.country})"
            rows.append([whose, each.month, what, used, *shares])
            if found.by.value == "network":
                rows[-1].append(_said_by(each, found.peers))
    return rows


def _said_by(each: Localised, peers: tuple[Teller, ...]) -> str:
    """Whose word it is and how old that is; of a sum, how many words are in it and the age of the oldest."""
    ages = [peer.age_ms for peer in peers if peer.factory in each.said_by and peer.age_ms is not None]
    if not each.said_by:
        return "this factory counted it"
    ago = f"{output.span(max(ages, default=0))} ago"
    if each.factory:
        return f"{each.factory}, {ago}"
    return f"this factory and {len(each.said_by)} of its peers, the oldest {ago}"


def _words_of(peers: tuple[Teller, ...]) -> list[str]:
    """What there is to know about the words of peers beside their figures."""
    lines: list[str] = []
    for peer in peers:
        said = f"{output.clean(peer.factory)} ({peer.country or '?'})"
        if peer.refused:
            lines.append(f"{said}: what it says now is not taken in: {output.clean(peer.refused)}")
        elif peer.age_ms is None:
            lines.append(f"{said} tells nothing")
    if any(peer.age_ms is not None for peer in peers):
        lines.append("what a peer says of itself is its word alone: nobody has checked it")
    return lines


def _total(share: Share) -> int:
    return share.home + share.continent + share.outside


VERBS = {"usage": _configure, "localisation": _configure_localisation}
