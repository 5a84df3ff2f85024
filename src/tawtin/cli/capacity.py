"""`tawtin capacity`: nodes and what is free; with `--drain` and `--ready` a node is taken out and back in."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.model.views import NodeView


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin capacity",
        "tawtin capacity --drain node7  # no new runs there; those under way are ended and tried elsewhere",
        "tawtin capacity --ready node7",
    )
    change = verb.add_mutually_exclusive_group()
    change.add_argument("--drain", metavar="NODE", help="take a node out (for admins)")
    change.add_argument("--ready", metavar="NODE", help="bring a node back (for admins)")
    parser.remote(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the nodes, after changing one if asked."""
    from tawtin.model.resources import NodeHealth

    with session.connect(arguments) as client:
        if arguments.drain:
            client.set_node_health(arguments.drain, NodeHealth.DRAINING)
        if arguments.ready:
            client.set_node_health(arguments.ready, NodeHealth.READY)
        view = client.capacity()
    if arguments.json:
        output.emit(view)
        return exits.OK
    header = ["NODE", "HEALTH", "GPUS FREE", "MODEL", "CPUS FREE", "MEMORY FREE", "RUNS", "NOTE"]
    print(output.columns(header, [_row(node) for node in view.nodes]))
    declared = sum(node.node.gpus for node in view.nodes if node.node.gpus_declared)
    if declared:
        print(f"\n{declared} GPUs are DECLARED by the operator for trying things out; they are not real")
    if not view.isolated:
        print("\nNO SANDBOX: only the owner's work is taken; `tawtin doctor` says how to mend that")
    for note in view.notes:
        print(f"note: {note}")
    return exits.OK


def _row(view: NodeView) -> list[str]:
    node = view.node
    notes = ["declared, not real"] if node.gpus and node.gpus_declared else []
    if node.gpus_sick:
        notes.append(f"not handed out: GPU {', '.join(map(str, node.gpus_sick))}")
    if view.quarantines:
        notes.append(f"{len(view.quarantines)} in quarantine: tawtin node list")
    return [
        node.name,
        node.health.value,
        f"{view.gpus_free}/{node.gpus}",
        node.gpu_model or "-",
        f"{view.cpus_milli_free / 1000:g}/{node.cpus_milli / 1000:g}",
        f"{output.size(view.memory_mib_free << 20)} / {output.size(node.memory_mib << 20)}",
        str(view.runs),
        "; ".join(notes),
    ]


VERBS = {"capacity": _configure}
