"""`tawtin serve`: services, whose replicas are kept running until somebody ends them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.services import ServiceView
    from tawtin.spec import Parsed


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin serve up chat.yaml  # start a service",
        "tawtin serve status chat  # its replicas, where they are, and which are ready",
        "tawtin serve scale chat 3",
        "tawtin serve update chat chat.yaml  # new replicas first, then the earlier ones end",
        "tawtin serve down chat",
    )
    actions = parser.verbs(verb)
    up = parser.sub(actions, "up", "start a service")
    parser.example(up, "tawtin serve up chat.yaml --secret HF_TOKEN")
    up.set_defaults(call=serve_up)
    update = parser.sub(actions, "update", "replace its replicas by those of a new spec, one after the other")
    parser.example(update, "tawtin serve update chat chat.yaml")
    update.add_argument("name", help="of the service: tawtin serve status")
    update.set_defaults(call=serve_update)
    for action in (up, update):
        action.add_argument("spec", metavar="SPEC", help="a file")
        action.add_argument(
            "--env", action="append", default=[], metavar="NAME=VALUE", help="set or replace a variable"
        )
        action.add_argument(
            "--secret",
            action="append",
            default=[],
            metavar="NAME[=VALUE]",
            help="a secret; without value, from the environment",
        )
    up.add_argument(
        "--idempotency-key", default="", metavar="KEY", help="the same key starts once; else a drawn one"
    )
    status = parser.sub(actions, "status", "show services and their replicas")
    parser.example(status, "tawtin serve status", "tawtin serve status chat --json")
    status.add_argument("name", nargs="?", help="only this one")
    status.set_defaults(call=serve_status)
    scale = parser.sub(actions, "scale", "say how many replicas it has")
    parser.example(scale, "tawtin serve scale chat 3")
    scale.add_argument("name", help="of the service: tawtin serve status")
    scale.add_argument("replicas", type=parser.count, metavar="N", help="how many")
    scale.set_defaults(call=serve_scale)
    down = parser.sub(actions, "down", "end it, and all its replicas")
    parser.example(down, "tawtin serve down chat")
    down.add_argument("name", help="of the service: tawtin serve status")
    down.set_defaults(call=serve_down)
    for action in actions.choices.values():
        action.add_argument("--tenant", help="of another tenant (for admins)")
        parser.remote(action)


def _read(arguments: argparse.Namespace) -> Parsed:
    """The spec, which has to be a service's."""
    from tawtin.cli import plan, run

    parsed = plan.read_file(
        arguments.spec, envs=run.pairs(arguments.env), secrets=run.secrets(arguments.secret)
    )
    if parsed.spec.service is None:
        raise exits.Fault(
            f"`{arguments.spec}` is no service", hint="add `service`, or submit it with `tawtin run`"
        )
    return parsed


def serve_up(arguments: argparse.Namespace) -> int:
    """Start a service."""
    from tawtin.cli import plan, run

    parsed = _read(arguments)
    with session.connect(arguments) as client, plan.placed(parsed):
        body = run.uploaded(client, parsed, arguments)
        client.submit(body, tenant=arguments.tenant, idempotency_key=arguments.idempotency_key)
        return _said(arguments, client.service(parsed.spec.name, tenant=arguments.tenant))


def serve_update(arguments: argparse.Namespace) -> int:
    """Update a service."""
    from tawtin.cli import plan, run

    parsed = _read(arguments)
    with session.connect(arguments) as client, plan.placed(parsed):
        body = run.uploaded(client, parsed, arguments)
        return _said(arguments, client.update_service(arguments.name, body, tenant=arguments.tenant))


def serve_status(arguments: argparse.Namespace) -> int:
    """Print services, or one with its replicas."""
    with session.connect(arguments) as client:
        if arguments.name:
            return _said(arguments, client.service(arguments.name, tenant=arguments.tenant))
        found = _all(client, arguments)
    if arguments.json:
        output.emit({"items": found})
    elif not found:
        print("there are no services: tawtin serve up SPEC starts one")
    else:
        header = ["NAME", "TENANT", "REVISION", "READY", "STATE"]
        print(output.columns(header, [_line(each) for each in found]))
    return exits.OK


def _all(client: Client, arguments: argparse.Namespace) -> tuple[ServiceView, ...]:
    return client.services(tenant=arguments.tenant)


def _line(view: ServiceView) -> list[str]:
    ready = f"{view.replicas_ready}/{view.replicas_wanted}"
    state = "updating" if view.updating else "up"
    if not view.updating and not view.replicas_wanted:
        state = "resting" if any(each.rests for each in view.replicas) else "ending"
    return [view.name, view.tenant, str(view.revision), ready, state]


def serve_scale(arguments: argparse.Namespace) -> int:
    """Say how many replicas there are."""
    with session.connect(arguments) as client:
        return _said(
            arguments, client.scale_service(arguments.name, arguments.replicas, tenant=arguments.tenant)
        )


def serve_down(arguments: argparse.Namespace) -> int:
    """End a service."""
    with session.connect(arguments) as client:
        return _said(arguments, client.end_service(arguments.name, tenant=arguments.tenant))


def _said(arguments: argparse.Namespace, view: ServiceView) -> int:
    if arguments.json:
        output.emit(view)
        return exits.OK
    name, _, revision, ready, state = _line(view)
    print(f"{name}: {ready} ready, revision {revision}, {state}")
    if view.why:
        print(f"load: {view.why}")
    if view.replicas:
        header = ["REPLICA", "REVISION", "STATE", "SINCE", "ADDRESS", "WORKLOAD", "WHY"]
        rows = [
            [
                str(each.replica),
                str(each.revision),
                each.readiness.value,
                output.moment(each.since_ms),
                each.address or "-",
                each.workload,
                each.why,
            ]
            for each in view.replicas
        ]
        print(output.columns(header, rows))
    return exits.OK


VERBS = {"serve": _configure}
