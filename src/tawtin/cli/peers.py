"""`tawtin peer` and `tawtin lost`: which factories this one knows, what it lends them, and what is gone for good."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.model.roaming import Peer


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin peer me  # what the other operator has to enter",
        "tawtin peer add nairobi --address https://nairobi.example:8470 --key 6d5k... --country KE --lend H100:4",
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
    add.add_argument(
        "--lend",
        action="append",
        default=[],
        metavar="MODEL:N",
        help="GPUs that it may have of us at one time",
    )
    add.add_argument(
        "--lend-cpus", type=int, default=0, metavar="N", help="processors that it may have of us"
    )
    add.add_argument(
        "--price",
        action="append",
        default=[],
        metavar="MODEL:MINOR",
        help="what it pays us for a GPU hour, minor units; else as our own tenants",
    )
    add.add_argument("--cpu-price", type=int, default=0, metavar="MINOR", help="and for a processor hour")
    add.add_argument("--price-currency", metavar="CCC", default="", help="what these prices are in")
    add.add_argument(
        "--mbit",
        type=int,
        default=100,
        metavar="N",
        help="bandwidth of the link to it, Mbit/s (default: 100)",
    )
    add.add_argument(
        "--per-gib",
        type=int,
        default=0,
        metavar="MINOR",
        help="what a gibibyte over that link costs, minor units",
    )
    add.set_defaults(call=peer_add)
    for name, summary, call in (
        ("leave", "let nothing new go there or come from there", peer_leave),
        ("revoke", "let its key count no more", peer_revoke),
    ):
        action = parser.sub(actions, name, summary)
        parser.example(action, f"tawtin peer {name} nairobi")
        action.add_argument("name", help="of the peer")
        action.set_defaults(call=call)
    for action in actions.choices.values():
        parser.remote(action)


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
        peers = client.peers()
    if arguments.json:
        output.emit({"items": peers})
        return exits.OK
    if not peers:
        print("no other factory is known; add one: tawtin peer add --help")
        return exits.OK
    rows = [
        [each.name, each.country, each.state.value, each.address, _lent(each), each.key[:12] + "..."]
        for each in peers
    ]
    print(output.columns(["PEER", "COUNTRY", "STATE", "ADDRESS", "WE LEND", "KEY"], rows))
    return exits.OK


def _lent(peer: Peer) -> str:
    parts = [f"{count} {model}" for model, count in sorted(peer.lends.gpus.items()) if count]
    if peer.lends.cpus_milli:
        parts.append(f"{peer.lends.cpus_milli / 1000:g} CPU")
    return ", ".join(parts) or "nothing"


def peer_add(arguments: argparse.Namespace) -> int:
    """Add or change."""
    from tawtin.model.roaming import Peer

    gpus, prices = _by_model("--lend", arguments.lend), _by_model("--price", arguments.price)
    if (prices or arguments.cpu_price) and not arguments.price_currency:
        raise exits.Fault("--price: in which currency is not said", hint="add --price-currency MAD")
    lends = {
        "gpus": gpus,
        "cpus_milli": arguments.lend_cpus * 1000,
        "currency": arguments.price_currency,
        "minor_per_gpu_hour": prices,
        "minor_per_cpu_hour": arguments.cpu_price,
    }
    with session.connect(arguments) as client:
        known = next((each for each in client.peers() if each.name == arguments.name), None)
        wanted: dict[str, Any] = {
            "name": arguments.name,
            "address": arguments.address,
            "key": arguments.key,
            "state": "active",
            "country": arguments.country,
            "currency": arguments.currency or client.whoami().currency,
            "lends": lends,
            "link": {"mbit_per_s": arguments.mbit, "minor_per_gib": arguments.per_gib},
            "revoked": list(known.revoked) if known is not None else [],
        }
        put = client.put_peer(arguments.name, session.record(wanted, Peer))
    return _show(put, arguments)


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
        known = next((each for each in client.peers() if each.name == arguments.name), None)
        if known is None:
            raise exits.Fault(f"no peer `{arguments.name}`", exits.NOT_FOUND, hint="tawtin peer list")
        put = client.put_peer(arguments.name, replace(known, state=PeerState(state)))
    return _show(put, arguments)


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
