"""`tawtin usage` and `tawtin localisation`: what ended runs used and cost, and how much of it at home."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.model.tenant import Account
    from tawtin.model.views import Localised, Share


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
        "tawtin localisation --month 2026-11 --json",
    )
    _configure_filters(verb)
    verb.set_defaults(call=run_localisation)


def _configure_filters(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--tenant", help="only this tenant's (for admins)")
    verb.add_argument("--month", metavar="YYYY-MM", help="only this month (UTC)")
    parser.remote(verb)


def _check_month(arguments: argparse.Namespace) -> None:
    if arguments.month and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", arguments.month):
        raise exits.Fault(f"--month: `{arguments.month}` is no month", hint="write it as 2026-11")


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
        print("nothing was used; a run counts when it has ended")
        return exits.OK
    header = ["TENANT", "MONTH", "RUNS", "WALL", "CPU", "GPU", "ENERGY", "PRICE"]
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
        output.amount(account.cost_minor, currency),
    ]


def run_localisation(arguments: argparse.Namespace) -> int:
    """Print the shares."""
    _check_month(arguments)
    with session.connect(arguments) as client:
        found = client.localisation(tenant=arguments.tenant, month=arguments.month)
    if arguments.json:
        output.emit({"items": found})
        return exits.OK
    if not found:
        print("nothing was used; a run counts when it has ended")
        return exits.OK
    header = ["TENANT", "MONTH", "OF", "USED", "AT HOME", "ON THE CONTINENT", "OUTSIDE"]
    print(output.columns(header, [row for each in found for row in _shares(each)]))
    return exits.OK


def _shares(each: Localised) -> list[list[str]]:
    """One row for each resource that was used."""
    rows: list[list[str]] = []
    amounts: tuple[tuple[str, Share, str], ...] = (
        ("GPU time", each.gpu_ms, output.span(_total(each.gpu_ms))),
        ("CPU time", each.cpu_ms, output.span(_total(each.cpu_ms))),
        ("bytes", each.bytes, output.size(_total(each.bytes))),
        ("runs", each.runs, str(_total(each.runs))),
    )
    for what, share, used in amounts:
        if _total(share):
            points = (share.home_bp, share.continent_bp, share.outside_bp)
            shares = [f"{point // 100}.{point % 100:02d} %" for point in points]
            shares[0] += f" ({each.country})"
            rows.append([each.tenant or "(all)", each.month, what, used, *shares])
    return rows


def _total(share: Share) -> int:
    return share.home + share.continent + share.outside


VERBS = {"usage": _configure, "localisation": _configure_localisation}
