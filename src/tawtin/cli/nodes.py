"""`tawtin node`: nodes and GPUs are taken out of service, and come back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.model.health import Quarantine


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin node list  # what is out of service, and why",
        "tawtin node quarantine node7 --gpu 3 --reason 'its fan is loud'",
        "tawtin node return node7 --gpu 3  # if its burn-in job passes",
    )
    actions = parser.verbs(verb)
    listed = parser.sub(actions, "list", "list what is out of service, and why")
    parser.example(listed, "tawtin node list")
    listed.add_argument("--all", action="store_true", help="what came back, too")
    listed.set_defaults(call=node_list)
    out = parser.sub(
        actions, "quarantine", "take GPUs of a node, or all of it, out until they are brought back"
    )
    parser.example(out, "tawtin node quarantine node7 --gpu 3 --reason 'its fan is loud'")
    out.add_argument("--reason", required=True, help="what the log keeps")
    out.set_defaults(call=node_quarantine)
    back = parser.sub(actions, "return", "bring GPUs of a node back if their burn-in job passes")
    parser.example(back, "tawtin node return node7 --gpu 3", "tawtin node return node7 --untested")
    back.add_argument("--untested", action="store_true", help="at once, without the burn-in job")
    back.set_defaults(call=node_return)
    for action in (out, back):
        action.add_argument("name", help="of the node: tawtin capacity")
        action.add_argument(
            "--gpu",
            action="append",
            type=_index,
            default=[],
            metavar="N",
            help="its index, from 0; may be given again",
        )
    for action in actions.choices.values():
        parser.remote(action)


def _index(text: str) -> int:
    if not text.isdecimal() or int(text) > 63:
        raise argparse.ArgumentTypeError(f"`{text}` is no index of a GPU")
    return int(text)


def node_list(arguments: argparse.Namespace) -> int:
    """Print what is out of service."""
    with session.connect(arguments) as client:
        found = [each for each in client.quarantines() if each.out or arguments.all]
    if arguments.json:
        output.emit({"items": found})
        return exits.OK
    if not found:
        print("everything is in service")
        return exits.OK
    _show(found)
    return exits.OK


def _show(found: list[Quarantine]) -> None:
    header = ["NODE", "GPU", "STATE", "KIND", "SINCE", "WHY"]
    print(output.columns(header, [_row(each) for each in found]))


def _row(each: Quarantine) -> list[str]:
    state = "back" if not each.out else f"tried by {each.trial}" if each.trial else "out"
    return [each.node, each.gpu or "all", state, each.kind.value, output.moment(each.since_ms), each.why]


def node_quarantine(arguments: argparse.Namespace) -> int:
    """Take GPUs out."""
    with session.connect(arguments) as client:
        found = client.quarantine(arguments.name, gpus=arguments.gpu, why=arguments.reason)
    return _said(arguments, list(found))


def node_return(arguments: argparse.Namespace) -> int:
    """Bring GPUs back, or have them tried."""
    with session.connect(arguments) as client:
        found = client.bring_back(arguments.name, gpus=arguments.gpu, untested=arguments.untested)
    return _said(arguments, list(found))


def _said(arguments: argparse.Namespace, found: list[Quarantine]) -> int:
    if arguments.json:
        output.emit({"items": found})
    else:
        _show(found)
    return exits.OK


VERBS = {"node": _configure}
