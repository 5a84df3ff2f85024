"""`show`, `logs`, `cancel` and `retry`: what is done with workloads that are there already."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.views import WorkloadView
    from tawtin.model.workload import Run


def _which(verb: argparse.ArgumentParser, *, many: bool = False) -> None:
    about = "id, the beginning of an id, or a name (the newest of that name)"
    verb.add_argument("workload", nargs="+" if many else None, metavar="WORKLOAD", help=about)


def _configure_show(verb: argparse.ArgumentParser) -> None:
    parser.example(verb, "tawtin show digits", "tawtin show wl-01kb2c --json")
    _which(verb)
    parser.remote(verb)
    verb.set_defaults(call=show)


def _configure_logs(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin logs digits",
        "tawtin logs digits -f  # until it is over; survives a restart of the factory",
        "tawtin logs digits --tail 20",
        "tawtin logs digits --run 1  # of its first run",
    )
    _which(verb)
    verb.add_argument("-f", "--follow", action="store_true", help="go on until the workload is over")
    verb.add_argument("--tail", type=parser.count, metavar="N", help="only the last N lines")
    verb.add_argument(
        "--run", type=parser.count, metavar="N", dest="epoch", help="of run N; else of the last one"
    )
    parser.remote(verb)
    verb.set_defaults(call=logs)


def _configure_cancel(verb: argparse.ArgumentParser) -> None:
    parser.example(verb, "tawtin cancel digits", "tawtin cancel wl-01kb2c wl-01kb2d")
    _which(verb, many=True)
    parser.remote(verb)
    verb.set_defaults(call=cancel)


def _configure_retry(verb: argparse.ArgumentParser) -> None:
    parser.example(verb, "tawtin retry digits  # the same spec again, as a new workload")
    _which(verb)
    parser.remote(verb)
    verb.set_defaults(call=retry)


def show(arguments: argparse.Namespace) -> int:
    """Print everything about one workload."""
    with session.connect(arguments) as client:
        view = session.resolve(client, arguments.workload)
        runs = client.runs(view.workload.id)
        if arguments.json:
            output.emit({"view": view, "runs": runs})
            return exits.OK
        print("\n".join(_described(view, client.whoami().factory)))
        if runs:
            print()
            print(_runs_table(runs))
    return exits.OK


def _described(view: WorkloadView, factory: str) -> list[str]:
    workload, spec = view.workload, view.workload.spec
    option = view.run.shape if view.run else spec.demand.options[0]
    lines = [
        ("id", workload.id),
        ("name", output.clean(spec.name)),
        ("status", output.paint(view.status, output.STATUS_COLOURS.get(view.status, ""))),
        ("tenant", workload.tenant),
        ("submitted", f"{output.moment(workload.submitted_ms)} by key {workload.submitted_by}"),
        ("asks for", session.shape_words(option, spec.demand.nodes)),
        ("data", f"class {spec.data.data_class}, origin {spec.data.origin or 'this country'}"),
    ]
    lines += [("reads", session.input_words(each)) for each in spec.data.inputs]
    if workload.array:
        lines.append(("array", f"{workload.array.id}, index {workload.array.index} of {workload.array.size}"))
    if view.waiting:
        lines.append(("waits", f"{view.waiting.reason}: {view.waiting.sentence}"))
    if view.run:
        slots = ", ".join(
            f"{slot.node} GPUs {list(slot.gpus)}" if slot.gpus else slot.node for slot in view.run.slots
        )
        lines.append(("where", view.run.factory or f"{factory}, {slots}"))
        lines.append(("used", session.usage_words(view.run.usage)))
        lines.append(("cost", output.amount(view.run.cost_minor, view.run.rate.currency)))
    if workload.phase.final:
        code = "" if workload.exit_code is None else f", exit code {workload.exit_code}"
        lines.append(
            ("ended", f"{output.moment(workload.finished_ms or 0)}, {workload.cause or view.status}{code}")
        )
    if workload.message:
        lines.append(("message", output.clean(workload.message)))
    lines += [
        ("output", f"{kept.name}: {output.size(kept.size_bytes)}, tawtin artifacts get {kept.artifact}")
        for kept in workload.outputs
    ]
    return [f"{name + ':':<11}{text}" for name, text in lines]


def _runs_table(runs: tuple[Run, ...]) -> str:
    rows = [
        [
            str(run.epoch),
            run.state.value if run.outcome is None else run.outcome.value,
            run.cause.value if run.cause else "",
            "" if run.exit_code is None else str(run.exit_code),
            output.moment(run.started_ms) if run.started_ms else "",
            output.span(run.usage.wall_ms),
            output.clean(run.message),
        ]
        for run in runs
    ]
    return output.columns(["RUN", "STATE", "CAUSE", "EXIT", "STARTED", "TOOK", "MESSAGE"], rows)


def logs(arguments: argparse.Namespace) -> int:
    """Print the log as it was written. With `-f` the exit code says how the workload ended."""
    with session.connect(arguments) as client:
        views = session.resolve_many(client, arguments.workload)
        if not arguments.follow:
            return max(_print_log(client, view, arguments) for view in views)
    from tawtin.cli.follow import Follower

    follower = Follower(
        session.where(arguments), views, as_json=arguments.json, tail=arguments.tail, epoch=arguments.epoch
    )
    return follower.run()


def _print_log(client: Client, view: WorkloadView, arguments: argparse.Namespace) -> int:
    from tawtin.cli.follow import json_line

    out = sys.stdout.buffer
    for piece in client.log_pieces(view.workload.id, epoch=arguments.epoch, tail=arguments.tail):
        if piece.dropped:
            output.note(f"({output.size(piece.dropped)} of the log were dropped by rotation)")
        out.write(json_line(view.workload.id, piece) if arguments.json else piece.data)
    out.flush()
    if not view.workload.epoch and not arguments.json:
        output.note("it has not run yet; `tawtin explain` says why")
    return exits.OK


def cancel(arguments: argparse.Namespace) -> int:
    """Ask for the end of workloads; an array by its id, all of it."""
    with session.connect(arguments) as client:
        found = [view for name in arguments.workload for view in session.resolve_many(client, name)]
        after = [client.cancel(view.workload.id) for view in found]
    if arguments.json:
        output.emit({"items": after})
        return exits.OK
    for view in after:
        already = " (it was over already)" if view.workload.phase.final and not view.workload.cancel else ""
        print(f"{view.workload.id}  {view.status}{already}")
    return exits.OK


def retry(arguments: argparse.Namespace) -> int:
    """Submit a finished workload's spec again."""
    import uuid

    with session.connect(arguments) as client:
        view = session.resolve(client, arguments.workload)
        submitted = client.retry(view.workload.id, idempotency_key=uuid.uuid4().hex)
    if arguments.json:
        output.emit(submitted)
        return exits.OK
    for workload in submitted.workloads:
        print(f"{workload.id}  submitted; follow it: tawtin logs -f {workload.id}")
    return exits.OK


VERBS = {
    "show": _configure_show,
    "logs": _configure_logs,
    "cancel": _configure_cancel,
    "retry": _configure_retry,
}
