"""`tawtin explain`: why a workload waits, or what would happen to a spec now."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tawtin.cli import exits, output, parser, session


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin explain digits  # a workload: by name, id, or the beginning of an id",
        "tawtin explain train.yaml  # a spec: nothing is submitted",
    )
    verb.add_argument("what", metavar="WORKLOAD|SPEC", help="a workload, or a file with a spec")
    verb.add_argument("--tenant", help="for which tenant to plan a spec (for admins)")
    parser.remote(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the reason. Exit code 0 also where it waits: the answer is what was asked for."""
    from tawtin.cli import plan

    if Path(arguments.what).is_file():
        return _spec(arguments)
    with session.connect(arguments) as client:
        view = session.resolve(client, arguments.what)
        told = client.explain(view.workload.id)
    workload, waiting = view.workload, view.waiting
    if arguments.json:
        output.emit(
            {"workload": workload.id, "status": view.status, "waiting": waiting, "places": told.places}
        )
        return exits.OK
    print(f"{workload.id} ({output.clean(workload.spec.name)}) is {view.status}")
    if waiting:
        if view.run and view.run.factory:
            print(f"  on {view.run.factory} since {output.moment(view.run.placed_ms)}")
        for line in session.waiting_words(waiting, int(time.time() * 1000)):
            print(f"  {line}")
    elif view.run and workload.phase.final:
        code = "" if workload.exit_code is None else f", exit code {workload.exit_code}"
        print(f"  {workload.cause or ''}{code} {output.clean(workload.message)}".rstrip())
    elif view.run:
        where = view.run.factory or ", ".join(slot.node for slot in view.run.slots)
        print(f"  on {where} since {output.moment(view.run.placed_ms)}")
    if len(told.places) > 1:
        print("\n".join(plan.place_lines(told.places)))
    return exits.OK


def _spec(arguments: argparse.Namespace) -> int:
    from tawtin.cli import plan

    parsed = plan.read_file(arguments.what, envs={}, secrets={})
    with session.connect(arguments) as client, plan.placed(parsed):
        view = client.plan(plan.plan_body(parsed), tenant=arguments.tenant)
        who = client.whoami()
    if arguments.json:
        output.emit(view)
    else:
        print("\n".join(plan.words(parsed, view, who)))
    return exits.OK


VERBS = {"explain": _configure}
