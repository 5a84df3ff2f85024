"""`tawtin usage`: what ended runs used and cost, by tenant and calendar month."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.model.tenant import Account


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin usage  # your own; for admins, of all tenants",
        "tawtin usage --tenant lab --month 2026-11 --json",
    )
    verb.add_argument("--tenant", help="only this tenant's (for admins)")
    verb.add_argument("--month", metavar="YYYY-MM", help="only this month (UTC)")
    parser.remote(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the accounts."""
    if arguments.month and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", arguments.month):
        raise exits.Fault(f"--month: `{arguments.month}` is no month", hint="write it as 2026-11")
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


VERBS = {"usage": _configure}
