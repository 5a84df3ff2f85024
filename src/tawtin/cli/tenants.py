"""`tenant`, `key` and `quota`: who may use the factory, with what, and how much at one time."""

from __future__ import annotations

import argparse
import re
import time
from typing import TYPE_CHECKING, Any

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.model.tenant import Quota, Tenant

KINDS = ("private", "public_body", "vital_infrastructure", "student")
SCOPES = ("audit", "read", "submit", "tenant", "admin")
UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
NO_LIMIT = "none"
LIMITS = {
    "gpus": ("gpus", 1, "GPUs at one time"),
    "cpus": ("cpus_milli", 1000, "processors at one time"),
    "memory-gib": ("memory_mib", 1024, "memory at one time, GiB"),
    "runs": ("runs", 1, "runs at one time"),
    "workloads": ("workloads", 1, "unfinished workloads, waiting ones included"),
    "budget": ("budget_minor_per_month", 1, "what may be spent in a calendar month, minor units"),
}
"""Flag -> (field of the quota, factor, what it limits)."""


def _configure_tenant(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin tenant create lab --name 'A laboratory' --kind public_body --gpus 8",
        "tawtin tenant list",
        "tawtin tenant set lab --network --allow MA,SN",
        "tawtin tenant close lab  # no new work; what runs goes on",
    )
    actions = parser.verbs(verb)
    create = parser.sub(actions, "create", "create a tenant")
    parser.example(create, "tawtin tenant create lab --kind public_body --gpus 8 --budget 500000")
    create.add_argument("id", help="lower-case letters, digits and `-`")
    _about(create)
    _limits(create)
    create.set_defaults(call=tenant_create)
    change = parser.sub(actions, "set", "change what a tenant is")
    parser.example(change, "tawtin tenant set lab --no-network --name 'The laboratory'")
    change.add_argument("id")
    _about(change)
    change.set_defaults(call=tenant_set)
    grant = parser.sub(actions, "authorise", "record a document that residency rules ask for")
    parser.example(
        grant,
        "tawtin tenant authorise lab --kind cndp_f118_authorisation --number T-218 --covers KE --expires 2027-06-30",
        "tawtin tenant authorise lab --kind cndp_f118_authorisation --revoke  # it counts no more",
    )
    grant.add_argument("id")
    grant.add_argument(
        "--kind", required=True, dest="document", help="as rules name it: tawtin rules show CC"
    )
    grant.add_argument("--number", help="its number or reference")
    grant.add_argument("--covers", metavar="CC,CC", help="countries that it covers; else all")
    grant.add_argument(
        "--expires", metavar="DATE", help="first day on which it counts no more, such as 2027-06-30"
    )
    grant.add_argument(
        "--revoke", action="store_true", help="forget all of this kind, or that with the number"
    )
    grant.set_defaults(call=tenant_authorise)
    for name, summary, call in (
        ("list", "list tenants", tenant_list),
        ("show", "show one tenant", tenant_show),
        ("close", "let a tenant submit nothing more", tenant_close),
        ("open", "let a closed tenant submit again", tenant_open),
    ):
        action = parser.sub(actions, name, summary)
        parser.example(action, f"tawtin tenant {name}" + ("" if name == "list" else " lab"))
        if name != "list":
            action.add_argument("id")
        action.set_defaults(call=call)
    for action in actions.choices.values():
        parser.remote(action)


def _about(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--name", help="for people")
    verb.add_argument("--kind", choices=KINDS, help="what the law sees in it")
    verb.add_argument("--country", metavar="CC", help="where it is established; else the factory's country")
    verb.add_argument(
        "--sectors", metavar="S,S", help="what rules bind it as, such as financial; empty lifts that"
    )
    verb.add_argument(
        "--network", action=argparse.BooleanOptionalAction, help="whether its work may ask for the network"
    )
    verb.add_argument(
        "--school", metavar="TENANT", help="whose teachers may look at its workspaces; empty lifts that"
    )
    verb.add_argument("--allow", metavar="CC,CC", help="countries it narrows itself to; empty lifts that")
    verb.add_argument("--deny", metavar="CC,CC", help="countries it keeps out of; empty lifts that")


def _limits(verb: argparse.ArgumentParser) -> None:
    for flag, (_, _, summary) in LIMITS.items():
        verb.add_argument(f"--{flag}", metavar="N", help=f"{summary}; `{NO_LIMIT}` for no limit")
    verb.add_argument(
        "--weight", type=parser.count, metavar="N", help="its share where there is not enough for all"
    )
    verb.add_argument("--priority-max", type=int, metavar="N", help="highest priority that it may ask for")


def _configure_key(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin key create --tenant lab --name ci --scope submit --expires 90d",
        "tawtin key create --tenant lab > lab.key  # the secret is shown this once",
        "tawtin key list --tenant lab",
        "tawtin key revoke k3x9",
    )
    actions = parser.verbs(verb)
    create = parser.sub(actions, "create", "issue a key, and print its secret once")
    parser.example(create, "tawtin key create --tenant lab --scope read --expires 12h")
    create.add_argument("--tenant", help="whose key; else your own (for admins)")
    create.add_argument("--name", default="", help="for people")
    create.add_argument("--scope", choices=SCOPES, default="submit", help="what it may do (default: submit)")
    create.add_argument("--expires", metavar="TIME", help="after this time, such as 12h or 90d; else never")
    create.set_defaults(call=key_create)
    listed = parser.sub(actions, "list", "list keys, without their secrets")
    parser.example(listed, "tawtin key list --tenant lab")
    listed.add_argument("--tenant", help="whose keys; else your own (for admins)")
    listed.set_defaults(call=key_list)
    revoke = parser.sub(actions, "revoke", "end a key, at once and for good")
    parser.example(revoke, "tawtin key revoke k3x9")
    revoke.add_argument("id")
    revoke.set_defaults(call=key_revoke)
    for action in actions.choices.values():
        parser.remote(action)


def _configure_quota(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin quota show lab",
        "tawtin quota set lab --gpus 16 --budget none",
    )
    actions = parser.verbs(verb)
    shown = parser.sub(actions, "show", "show what a tenant may hold")
    parser.example(shown, "tawtin quota show lab")
    shown.add_argument("tenant", nargs="?", help="else your own")
    shown.set_defaults(call=quota_show)
    change = parser.sub(actions, "set", "change what a tenant may hold")
    parser.example(change, "tawtin quota set lab --gpus 16 --runs none --weight 200")
    change.add_argument("tenant")
    _limits(change)
    change.set_defaults(call=quota_set)
    for action in actions.choices.values():
        parser.remote(action)


# --- tenant ----------------------------------------------------------------------------------------------------------


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in ("name", "kind", "country", "network", "school"):
        if getattr(arguments, field) is not None:
            found[field] = getattr(arguments, field)
    if arguments.sectors is not None:
        found["sectors"] = [each.strip() for each in arguments.sectors.split(",") if each.strip()]
    residency = {name: _countries(name, getattr(arguments, name)) for name in ("allow", "deny")}
    narrowed = {name: value for name, value in residency.items() if value is not None}
    return {**found, "residency": narrowed} if narrowed else found


def _countries(flag: str, text: str | None) -> list[str] | None:
    if text is None:
        return None
    found = [each.strip() for each in text.split(",") if each.strip()]
    for each in found:
        if not re.fullmatch("[A-Z]{2}", each):
            raise exits.Fault(
                f"--{flag}: `{each}` is no country", hint="two capital letters of ISO 3166-1, such as MA"
            )
    return found


def _quota_changes(arguments: argparse.Namespace) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for flag, (field, factor, _) in LIMITS.items():
        text: str | None = getattr(arguments, flag.replace("-", "_"))
        if text is None:
            continue
        if text != NO_LIMIT and not text.isdecimal():
            raise exits.Fault(
                f"--{flag}: `{text}` is no whole number", hint=f"or write `{NO_LIMIT}` for no limit"
            )
        found[field] = None if text == NO_LIMIT else int(text) * factor
    if arguments.weight is not None:
        found["weight"] = arguments.weight
    if arguments.priority_max is not None:
        found["priority_max"] = arguments.priority_max
    return found


def tenant_create(arguments: argparse.Namespace) -> int:
    """Create."""
    from tawtin.model.requests import TenantNew

    wanted = session.record(
        {"id": arguments.id, **_changes(arguments), "quota": _quota_changes(arguments)}, TenantNew
    )
    with session.connect(arguments) as client:
        made = client.create_tenant(wanted)
    return _show(made, arguments, f"made; give it a key: tawtin key create --tenant {made.id}")


def tenant_set(arguments: argparse.Namespace) -> int:
    """Change."""
    changes = _changes(arguments)
    if not changes:
        raise exits.Fault("nothing is to be changed", hint="name a field: tawtin tenant set --help")
    return _patch(arguments, arguments.id, changes)


def _patch(arguments: argparse.Namespace, tenant: str, changes: dict[str, Any]) -> int:
    with session.connect(arguments) as client:
        version = client.tenant(tenant).version
        return _show(client.change_tenant(tenant, changes, if_match=version), arguments)


def tenant_authorise(arguments: argparse.Namespace) -> int:
    """Record or forget a document."""
    import msgspec

    if not arguments.revoke and not arguments.number:
        raise exits.Fault("a document needs its number", hint="add --number, or --revoke to forget it")
    covers = _countries("covers", arguments.covers) or ["*"]
    with session.connect(arguments) as client:
        tenant = client.tenant(arguments.id)
        others = [
            each
            for each in tenant.authorisations
            if each.kind != arguments.document or (arguments.number and each.number != arguments.number)
        ]
        if arguments.revoke and len(others) == len(tenant.authorisations):
            raise exits.Fault(f"`{arguments.id}` has no `{arguments.document}` to forget", exits.NOT_FOUND)
        given: list[Any] = [msgspec.to_builtins(each) for each in others]
        if not arguments.revoke:
            given.append(
                {"kind": arguments.document, "number": arguments.number, "covers": covers}
                | ({"expires_ms": _day_ms(arguments.expires)} if arguments.expires else {})
            )
        changes = {"authorisations": given}
        return _show(client.change_tenant(arguments.id, changes, if_match=tenant.version), arguments)


def _day_ms(text: str) -> int:
    """The first moment of a day, UTC."""
    import calendar

    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%d")) * 1000
    except ValueError:
        raise exits.Fault(f"--expires: `{text}` is no date", hint="write it like 2027-06-30") from None


def tenant_close(arguments: argparse.Namespace) -> int:
    """Close."""
    return _patch(arguments, arguments.id, {"closed": True})


def tenant_open(arguments: argparse.Namespace) -> int:
    """Open again."""
    return _patch(arguments, arguments.id, {"closed": False})


def tenant_show(arguments: argparse.Namespace) -> int:
    """Show."""
    with session.connect(arguments) as client:
        return _show(client.tenant(arguments.id), arguments)


def tenant_list(arguments: argparse.Namespace) -> int:
    """List."""
    with session.connect(arguments) as client:
        tenants = client.tenants()
    if arguments.json:
        output.emit({"items": tenants})
        return exits.OK
    rows = [
        [
            each.id,
            output.clean(each.name),
            each.kind.value,
            _limit(each.quota.gpus),
            str(each.quota.weight),
            "yes" if each.network else "no",
            "closed" if each.closed else "owner" if each.owner else "",
        ]
        for each in tenants
    ]
    print(output.columns(["TENANT", "NAME", "KIND", "GPUS", "WEIGHT", "NETWORK", ""], rows))
    return exits.OK


def _show(tenant: Tenant, arguments: argparse.Namespace, further: str = "") -> int:
    if arguments.json:
        output.emit(tenant)
        return exits.OK
    print(f"tenant:    {tenant.id} {output.clean(tenant.name)}".rstrip())
    print(f"kind:      {tenant.kind.value}{', closed' if tenant.closed else ''}")
    print(f"network:   {'may be asked for' if tenant.network else 'not allowed'}")
    if tenant.school or tenant.course:
        print(f"school:    {tenant.school or '-'}; course {tenant.course or '-'}")
    allow, deny = tenant.residency.allow, tenant.residency.deny
    if allow or deny:
        print(f"residency: only {', '.join(allow) or 'where rules allow'}; never {', '.join(deny) or '-'}")
    if tenant.country or tenant.sectors:
        print(f"law:       {tenant.country or 'as the factory'}; {', '.join(tenant.sectors) or 'no sector'}")
    for each in tenant.authorisations:
        until = f" until {output.moment(each.expires_ms)}" if each.expires_ms is not None else ""
        print(f"document:  {each.kind} {output.clean(each.number)} for {', '.join(each.covers)}{until}")
    print("\n".join(_quota_lines(tenant.quota)))
    if further:
        print(further)
    return exits.OK


# --- quota -----------------------------------------------------------------------------------------------------------


def _limit(value: int | None, factor: int = 1) -> str:
    return "no limit" if value is None else f"{value / factor:g}"


def _quota_lines(quota: Quota) -> list[str]:
    lines = [
        f"{flag + ':':<13}{_limit(getattr(quota, field), factor):<10} {summary}"
        for flag, (field, factor, summary) in LIMITS.items()
    ]
    return [*lines, f"{'weight:':<13}{quota.weight}", f"{'priority-max:':<13}{quota.priority_max}"]


def quota_show(arguments: argparse.Namespace) -> int:
    """Show."""
    with session.connect(arguments) as client:
        tenant = client.tenant(arguments.tenant or client.whoami().tenant)
    if arguments.json:
        output.emit({"tenant": tenant.id, "quota": tenant.quota, "version": tenant.version})
    else:
        print("\n".join(_quota_lines(tenant.quota)))
    return exits.OK


def quota_set(arguments: argparse.Namespace) -> int:
    """Change."""
    changes = _quota_changes(arguments)
    if not changes:
        raise exits.Fault("nothing is to be changed", hint="name a limit: tawtin quota set --help")
    return _patch(arguments, arguments.tenant, {"quota": changes})


# --- key -------------------------------------------------------------------------------------------------------------


def key_create(arguments: argparse.Namespace) -> int:
    """Issue a key. The secret alone goes to standard output, so that it can be redirected into a file."""
    wanted = {
        "tenant": arguments.tenant,
        "name": arguments.name,
        "scope": arguments.scope,
        "expires_ms": _expires_ms(arguments.expires),
    }
    with session.connect(arguments) as client:
        made = client.issue_key({name: value for name, value in wanted.items() if value is not None})
    if arguments.json:
        output.emit(made)
        return exits.OK
    print(made.secret)
    until = f"until {output.moment(made.expires_ms)}" if made.expires_ms else "until it is revoked"
    output.note(
        f"key {made.id} of {made.tenant}, scope {made.scope.value}, {until}; its secret is not kept anywhere"
    )
    return exits.OK


def _expires_ms(text: str | None) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,6})([mhd])", text)
    if not found:
        raise exits.Fault(f"--expires: `{text}` is no time", hint="write it like 30m, 12h or 90d")
    return int(time.time() * 1000) + int(found[1]) * UNITS_MS[found[2]]


def key_list(arguments: argparse.Namespace) -> int:
    """List."""
    with session.connect(arguments) as client:
        keys = client.keys(tenant=arguments.tenant)
    if arguments.json:
        output.emit({"items": keys})
        return exits.OK
    now_ms = int(time.time() * 1000)
    rows: list[list[str]] = []
    for key in keys:
        state = "in force"
        if key.revoked_ms is not None:
            state = f"revoked {output.moment(key.revoked_ms)}"
        elif key.expires_ms is not None:
            state = ("expired " if key.expires_ms <= now_ms else "until ") + output.moment(key.expires_ms)
        rows.append(
            [
                key.id,
                output.clean(key.name),
                key.tenant,
                key.scope.value,
                output.moment(key.created_ms),
                state,
            ]
        )
    print(output.columns(["KEY", "NAME", "TENANT", "SCOPE", "MADE", "STATE"], rows))
    return exits.OK


def key_revoke(arguments: argparse.Namespace) -> int:
    """Revoke."""
    with session.connect(arguments) as client:
        key = client.revoke_key(arguments.id)
    if arguments.json:
        output.emit(key)
    else:
        print(f"{key.id}  revoked {output.moment(key.revoked_ms or 0)}")
    return exits.OK


VERBS = {"tenant": _configure_tenant, "key": _configure_key, "quota": _configure_quota}
