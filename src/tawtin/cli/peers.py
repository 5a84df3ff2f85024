"""`tawtin peer` and `tawtin lost`: which factories this one knows, what it lends them, and what is gone for good."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING, Any

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.introduction import Introduction
    from tawtin.model.roaming import Peer
    from tawtin.model.views import StoreView


VALID_MINUTES_MAX = 1440


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin peer invite --address https://casablanca.example:8470 --lend H100:4  # and send what it prints",
        "tawtin peer join tawtin-invitation-...  # the other operator, who got it",
        "tawtin peer confirm nairobi 482907  # the digits that you hear from each other",
        "tawtin peer set nairobi --hours 20:00-06:00",
        "tawtin peer list",
        "tawtin peer leave nairobi  # nothing new goes there or comes; what runs ends in its time",
        "tawtin peer revoke nairobi  # its key counts no more",
    )
    actions = parser.verbs(verb)
    me = parser.sub(actions, "me", "show who this factory is to others")
    parser.example(me, "tawtin peer me")
    me.set_defaults(call=peer_me)
    listed = parser.sub(actions, "list", "list the factories that this one knows")
    parser.example(listed, "tawtin peer list")
    listed.set_defaults(call=peer_list)
    add = parser.sub(actions, "add", "add a factory, or change what is known of it")
    parser.example(
        add, "tawtin peer add nairobi --address https://nairobi.example:8470 --key 6d5k... --country KE"
    )
    add.add_argument("name", help="as the factory calls itself: tawtin peer me")
    add.add_argument(
        "--address", required=True, help="where it listens, such as https://nairobi.example:8470"
    )
    add.add_argument(
        "--key", required=True, help="its public key; compare it with the other operator by voice"
    )
    add.add_argument("--country", required=True, metavar="CC", help="where it says that it is")
    add.add_argument("--currency", metavar="CCC", help="what its prices for us are in; else our own")
    _lending(add)
    _telling(add)
    add.set_defaults(call=peer_add)
    change = parser.sub(
        actions, "set", "change what a factory is lent or told, its link, its leases, or its address"
    )
    parser.example(change, "tawtin peer set nairobi --lend H100:8 --hours 20:00-06:00")
    change.add_argument("name", help="of the peer")
    change.add_argument("--address", default="", help="where it listens from now on")
    _lending(change)
    _telling(change)
    change.set_defaults(call=peer_set)
    invite = parser.sub(actions, "invite", "make an invitation for the operator of another factory")
    parser.example(invite, "tawtin peer invite --address https://casablanca.example:8470 --lend H100:4")
    invite.add_argument(
        "--valid",
        type=int,
        default=60,
        metavar="MINUTES",
        help=f"for so long (default: 60, at most {VALID_MINUTES_MAX})",
    )
    join = parser.sub(actions, "join", "take up the invitation of another factory")
    parser.example(join, "tawtin peer join tawtin-invitation-... --address https://nairobi.example:8470")
    join.add_argument("invitation", help="what its operator sent you")
    for action, call in ((invite, peer_invite), (join, peer_join)):
        action.add_argument("--address", default="", help="where it finds us (default: where you find us)")
        _lending(action)
        action.set_defaults(call=call)
    pending = parser.sub(actions, "invitations", "list the invitations that are under way")
    parser.example(pending, "tawtin peer invitations")
    pending.add_argument("--withdraw", metavar="ID", help="let this one be void first")
    pending.set_defaults(call=peer_invitations)
    confirm = parser.sub(actions, "confirm", "enter the digits that the other operator reads to you")
    parser.example(confirm, "tawtin peer confirm nairobi 482 907")
    confirm.add_argument("name", help="of the factory")
    confirm.add_argument("digits", nargs="+", help="six of them")
    confirm.set_defaults(call=peer_confirm)
    for name, summary, call in (
        ("leave", "let nothing new go there or come from there", peer_leave),
        ("revoke", "let its key count no more", peer_revoke),
    ):
        action = parser.sub(actions, name, summary)
        parser.example(action, f"tawtin peer {name} nairobi")
        action.add_argument("name", help="of the peer")
        action.set_defaults(call=call)
    _waiving(actions)
    for action in actions.choices.values():
        parser.remote(action)


def _waiving(actions: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    waive = parser.sub(actions, "waive", "after a restore, do not wait for a factory that is gone for good")
    parser.example(waive, "tawtin peer waive nairobi --why 'its site burned down, its operator says'")
    waive.add_argument("name", help="of the peer")
    waive.add_argument("--why", required=True, help="what the log keeps")
    waive.set_defaults(call=peer_waive)


def _lending(action: argparse.ArgumentParser) -> None:
    """Options for what a factory is lent, when and at what price, its link, and the terms of leases."""
    for name, metavar, words in (
        ("--lend", "MODEL:N", "GPUs that it may have of us at one time"),
        ("--price", "MODEL:MINOR", "what it pays us for a GPU hour, minor units; else as our own tenants"),
    ):
        action.add_argument(name, action="append", default=[], metavar=metavar, help=words)
    for name, metavar, words in (
        ("--lend-cpus", "N", "processors that it may have of us"),
        ("--cpu-price", "MINOR", "what it pays us for a processor hour"),
        ("--mbit", "N", "bandwidth of the link to it, Mbit/s (default: 100)"),
        ("--per-gib", "MINOR", "what a gibibyte over that link costs, minor units"),
        ("--lease-s", "N", "length of a lease (default: 60); the same on both sides, as are the next two"),
        ("--hold-s", "N", "how long room is held that was asked for (default: 10)"),
        ("--stop-s", "N", "in this time its engine ends a run for certain (default: 15)"),
    ):
        action.add_argument(name, type=int, metavar=metavar, help=words)
    action.add_argument("--price-currency", metavar="CCC", help="what these prices are in")
    action.add_argument(
        "--hours", metavar="HH:MM-HH:MM", help="lent only then, each day, UTC (default: always)"
    )


def _telling(action: argparse.ArgumentParser) -> None:
    """Options for what a factory is told of this one."""
    action.add_argument(
        "--tell-localisation",
        choices=("yes", "no"),
        help="whether it hears our localisation rate, sums without tenants (default: yes)",
    )


def _configure_lost(verb: argparse.ArgumentParser) -> None:
    parser.example(verb, "tawtin lost wl-01h8 --why 'the site burned down, its operator says'")
    verb.add_argument("workload", help="id, or the end of one")
    verb.add_argument("--why", required=True, help="what the log keeps")
    parser.remote(verb)
    verb.set_defaults(call=lost)


def peer_me(arguments: argparse.Namespace) -> int:
    """Show."""
    with session.connect(arguments) as client:
        me = client.identity()
    if arguments.json:
        output.emit(me)
        return exits.OK
    print(f"name:    {me.name}")
    print(f"country: {me.country}")
    print(f"key:     {me.key}")
    return exits.OK


def peer_list(arguments: argparse.Namespace) -> int:
    """List."""
    with session.connect(arguments) as client:
        peers, store = client.peers(), client.store()
    if arguments.json:
        output.emit({"items": peers})
        return exits.OK
    _tell_store(store)
    if not peers:
        print("no other factory is known; add one: tawtin peer add --help")
        return exits.OK
    rows = [
        [each.name, each.country, each.state.value, each.address, _lent(each), each.key[:12] + "..."]
        for each in peers
    ]
    print(output.columns(["PEER", "COUNTRY", "STATE", "ADDRESS", "WE LEND", "KEY"], rows))
    return exits.OK


def _tell_store(store: StoreView) -> None:
    """What follows from a store that was put back from a backup, while something does."""
    if not store.silent or store.restored is None:
        return
    why, silent = output.clean(store.restored.why), ", ".join(store.silent)
    print(f"the store was put back from a backup ({store.restored.by}: {why}).")
    print("Nothing goes to peers, and nothing that was accepted before is placed, until these say")
    print(f"what they know: {silent}")
    print("One that is gone for good: tawtin peer waive NAME --why TEXT")
    print()


def peer_waive(arguments: argparse.Namespace) -> int:
    """Wait no more."""
    with session.connect(arguments) as client:
        store = client.waive(arguments.name, why=arguments.why)
    if arguments.json:
        output.emit(store)
    else:
        print(f"{arguments.name} is not waited for; still silent: {', '.join(store.silent) or 'nobody'}")
    return exits.OK


def _lent(peer: Peer) -> str:
    parts = [f"{count} {model}" for model, count in sorted(peer.lends.gpus.items()) if count]
    if peer.lends.cpus_milli:
        parts.append(f"{peer.lends.cpus_milli / 1000:g} CPU")
    when = f" from {peer.lends.hours} UTC" if peer.lends.hours and parts else ""
    return ", ".join(parts) + when if parts else "nothing"


def peer_add(arguments: argparse.Namespace) -> int:
    """Add or change."""
    from tawtin.model.roaming import Peer

    with session.connect(arguments) as client:
        known = next((each for each in client.peers() if each.name == arguments.name), None)
        wanted: dict[str, Any] = {
            "name": arguments.name,
            "address": arguments.address,
            "key": arguments.key,
            "state": "active",
            "country": arguments.country,
            "currency": arguments.currency or client.whoami().currency,
            "revoked": list(known.revoked) if known is not None else [],
            "tell_localisation": known is None or known.tell_localisation,
            **_wanted(arguments),
            **_told(arguments),
        }
        put = client.put_peer(arguments.name, session.record(wanted, Peer))
    return _show(put, arguments)


def peer_set(arguments: argparse.Namespace) -> int:
    """Change what was said, and nothing else."""
    from msgspec import to_builtins

    from tawtin.model.roaming import Peer

    said: dict[str, Any] = {**_wanted(arguments), **_told(arguments)}
    if arguments.address:
        said["address"] = arguments.address
    if not said:
        raise exits.Fault("nothing is to be changed", hint="tawtin peer set --help")
    with session.connect(arguments) as client:
        known = to_builtins(_known(client, arguments.name))
        for key, value in said.items():
            known[key] = {**known[key], **value} if isinstance(value, dict) else value
        put = client.put_peer(arguments.name, session.record(known, Peer))
    return _show(put, arguments)


def peer_invite(arguments: argparse.Namespace) -> int:
    """Invite."""
    from tawtin.model.requests import InvitationNew

    if not 1 <= arguments.valid <= VALID_MINUTES_MAX:
        raise exits.Fault(f"--valid: {arguments.valid} is not from 1 to {VALID_MINUTES_MAX} minutes")
    with session.connect(arguments) as client:
        wanted: dict[str, Any] = {
            "address": arguments.address or client.target.url,
            "valid_ms": arguments.valid * 60_000,
            **_wanted(arguments),
        }
        made = client.invite(session.record(wanted, InvitationNew))
    if arguments.json:
        output.emit(made)
        return exits.OK
    print(
        f"Send this to the other operator. It serves once, until {output.moment(made.introduction.ends_ms)}:"
    )
    print()
    print(f"tawtin peer join {made.invitation}")
    print()
    print("Once that is done, each of you has six digits to read to the other: tawtin peer invitations")
    return exits.OK


def peer_join(arguments: argparse.Namespace) -> int:
    """Take up an invitation."""
    from tawtin.model.requests import JoinNew

    with session.connect(arguments) as client:
        wanted: dict[str, Any] = {
            "invitation": arguments.invitation,
            "address": arguments.address or client.target.url,
            **_wanted(arguments, without=("terms",)),
        }
        found = client.join(session.record(wanted, JoinNew))
    if arguments.json:
        output.emit(found)
    else:
        _tell(found)
    return exits.OK


def peer_invitations(arguments: argparse.Namespace) -> int:
    """List the invitations that are under way, or withdraw one."""
    with session.connect(arguments) as client:
        if arguments.withdraw:
            client.withdraw(arguments.withdraw)
        found = client.introductions()
    if arguments.json:
        output.emit({"items": found})
        return exits.OK
    if not found:
        print("no invitation is under way; make one: tawtin peer invite")
    for each in found:
        _tell(each)
    return exits.OK


def _tell(found: Introduction) -> None:
    """What its operator does next."""
    until = output.moment(found.ends_ms)
    if found.party is None or not found.say:
        print(f"{found.id}: nobody has taken it up; it is valid until {until}")
        return
    print(f"{found.party.name} ({found.party.country}) at {output.clean(found.party.address)}, until {until}")
    lease_s, stop_s = found.terms.lease_ms / 1000, found.terms.stop_ms / 1000
    print(f"  leases of {lease_s:g} s, of which ending a run takes {stop_s:g} s at most")
    print(f"  read to its operator, by voice:   {found.say}")
    print(f"  and enter what you hear:          tawtin peer confirm {shlex.quote(found.party.name)} DIGITS")


def peer_confirm(arguments: argparse.Namespace) -> int:
    """Enter what the other operator read out."""
    with session.connect(arguments) as client:
        put = client.confirm(arguments.name, digits=" ".join(arguments.digits))
    return _show(put, arguments)


def _wanted(arguments: argparse.Namespace, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the options for lending, the link and leases say; what is not said is not there."""
    prices = _by_model("--price", arguments.price) if arguments.price else None
    if (prices or arguments.cpu_price) and not arguments.price_currency:
        raise exits.Fault("--price: in which currency is not said", hint="add --price-currency MAD")
    said: dict[str, dict[str, Any]] = {
        "lends": {
            "gpus": _by_model("--lend", arguments.lend) if arguments.lend else None,
            "cpus_milli": arguments.lend_cpus * 1000 if arguments.lend_cpus is not None else None,
            "currency": arguments.price_currency,
            "minor_per_gpu_hour": prices,
            "minor_per_cpu_hour": arguments.cpu_price,
            "hours": _hours(arguments.hours),
        },
        "link": {"mbit_per_s": arguments.mbit, "minor_per_gib": arguments.per_gib},
        "terms": {
            "lease_ms": _ms(arguments.lease_s),
            "ttl_ms": _ms(arguments.hold_s),
            "stop_ms": _ms(arguments.stop_s),
        },
    }
    given = {
        part: {key: value for key, value in values.items() if value is not None}
        for part, values in said.items()
        if part not in without
    }
    return {part: values for part, values in given.items() if values}


def _told(arguments: argparse.Namespace) -> dict[str, bool]:
    """What the options for telling say; what is not said is not there."""
    said = arguments.tell_localisation
    return {} if said is None else {"tell_localisation": said == "yes"}


def _ms(seconds: int | None) -> int | None:
    return seconds * 1000 if seconds is not None else None


def _hours(text: str | None) -> str | None:
    if text is None or text == "always":
        return "" if text else None
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", text):
        raise exits.Fault(
            f"--hours: `{text}` is not understood", hint="write it like --hours 20:00-06:00 (UTC), or always"
        )
    return text


def _by_model(option: str, given: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in given:
        model, _, count = text.partition(":")
        if not re.fullmatch(r"[A-Za-z0-9_.*-]+", model) or not count.isdecimal():
            raise exits.Fault(f"{option}: `{text}` is not understood", hint=f"write it like {option} H100:4")
        found[model] = int(count)
    return found


def peer_leave(arguments: argparse.Namespace) -> int:
    """Leave."""
    return _change(arguments, "leaving")


def peer_revoke(arguments: argparse.Namespace) -> int:
    """Revoke."""
    return _change(arguments, "revoked")


def _change(arguments: argparse.Namespace, state: str) -> int:
    from msgspec.structs import replace

    from tawtin.model.roaming import PeerState

    with session.connect(arguments) as client:
        known = _known(client, arguments.name)
        put = client.put_peer(arguments.name, replace(known, state=PeerState(state)))
    return _show(put, arguments)


def _known(client: Client, name: str) -> Peer:
    """The peer of that name. Raises Fault."""
    known = next((each for each in client.peers() if each.name == name), None)
    if known is None:
        raise exits.Fault(f"no peer `{name}`", exits.NOT_FOUND, hint="tawtin peer list")
    return known


def _show(peer: Peer, arguments: argparse.Namespace) -> int:
    if arguments.json:
        output.emit(peer)
    else:
        print(
            f"{peer.name} ({peer.country or '?'}), {peer.state.value}, at {peer.address}; we lend it {_lent(peer)}"
        )
    return exits.OK


def lost(arguments: argparse.Namespace) -> int:
    """Declare a run that is away lost. Only then is it tried elsewhere."""
    with session.connect(arguments) as client:
        found = session.resolve(client, arguments.workload)
        view = client.declare_lost(found.workload.id, why=arguments.why)
    if arguments.json:
        output.emit(view)
    else:
        print(f"{view.workload.id}: its attempt {view.workload.epoch} is lost; it is {view.status}")
    return exits.OK


VERBS = {"peer": _configure, "lost": _configure_lost}
