"""`tawtin run`: read a spec, show the plan, ask, upload, submit, and follow to the end."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.views import PlanView, Submitted, WorkloadView
    from tawtin.spec import Parsed

LAWLESS = "NoLawfulFactory"


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin run train.yaml  # a spec, a SkyPilot task or an sbatch script",
        "tawtin run train.yaml -y --env EPOCHS=10 --secret HF_TOKEN",
        "tawtin run --gpus H100:2 --memory 64GB -- python train.py",
        "tawtin run sweep.yaml --detach --json",
        "tawtin run train.yaml --dry-run  # the plan alone",
    )
    verb.usage = "tawtin run [options] SPEC\n       tawtin run [options] -- COMMAND [ARGUMENT ...]"
    verb.add_argument("words", nargs="*", metavar="SPEC", help="a file; or `--` and a command")
    verb.add_argument(
        "-y", "--yes", action="store_true", help="do not ask; without a terminal nobody is asked"
    )
    verb.add_argument("-d", "--detach", action="store_true", help="return once it is submitted")
    verb.add_argument("--dry-run", action="store_true", help="show the plan, submit nothing")
    verb.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="set or replace a variable"
    )
    verb.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a secret; without value, from the environment",
    )
    verb.add_argument("--name", help="with a command: its name")
    verb.add_argument("--gpus", metavar="[MODEL:]N", help="with a command: its GPUs, such as H100:2")
    verb.add_argument("--cpus", metavar="N", help="with a command: its processors")
    verb.add_argument("--memory", metavar="SIZE", help="with a command: its memory, such as 16GB")
    verb.add_argument(
        "--max-duration", metavar="TIME", help="with a command: ended after this time, such as 2h"
    )
    verb.add_argument("--tenant", help="for another tenant (for admins)")
    verb.add_argument(
        "--timeout", type=parser.count, metavar="S", help="stop following after S seconds; it goes on"
    )
    verb.add_argument(
        "--pass-exit-code", action="store_true", help="exit with the program's own code if it failed"
    )
    verb.add_argument(
        "--idempotency-key", default="", metavar="KEY", help="the same key submits once; else a drawn one"
    )
    parser.remote(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Go through the steps."""
    # 1. read, where lines have numbers
    parsed = _parsed(arguments)
    with session.connect(arguments) as client:
        # 2. the plan
        from tawtin.cli import plan

        with plan.placed(parsed):
            view = client.plan(plan.plan_body(parsed), tenant=arguments.tenant)
        if not arguments.json:
            print("\n".join(plan.words(parsed, view, client.whoami())), flush=True)
        if arguments.dry_run:
            if arguments.json:
                output.emit({"plan": view})
            return exits.OK if view.lawful else exits.DENIED
        # 3. ask, upload, submit
        _agree(arguments, view)
        with plan.placed(parsed):
            submitted = _submit(client, parsed, arguments)
        views = [client.get(workload.id) for workload in submitted.workloads] if not arguments.detach else []
    if arguments.json:
        output.emit({"plan": view, "submitted": submitted})
        sys.stdout.flush()
    if arguments.detach:
        return _detached(submitted, arguments)
    # 4. follow
    return _follow(views, arguments)


def _parsed(arguments: argparse.Namespace) -> Parsed:
    from tawtin.cli import plan

    envs, given = pairs(arguments.env), secrets(arguments.secret)
    words: list[str] = arguments.words
    inline = {
        "name": arguments.name,
        "gpus": arguments.gpus,
        "cpus": arguments.cpus,
        "memory": arguments.memory,
        "duration": arguments.max_duration,
    }
    if not words:
        raise exits.Fault("there is nothing to run", hint="name a spec, or put a command after `--`")
    if arguments.dashes:
        return plan.inline(words, **inline, envs=envs, secrets=given)
    if len(words) > 1:
        raise exits.Fault(f"one spec at a time, not {len(words)}", hint="a command goes after `--`")
    for flag, value in inline.items():
        if value is not None:
            name = "max-duration" if flag == "duration" else flag
            raise exits.Fault(
                f"--{name} goes with a command, not with a spec", hint=f"write it into `{words[0]}`"
            )
    return plan.read_file(words[0], envs=envs, secrets=given)


def pairs(given: list[str]) -> dict[str, str]:
    """The variables of `--env`."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise exits.Fault(f"--env: `{each}` has no value", hint=f"write it as --env {each}=VALUE")
        found[name] = value
    return found


def secrets(given: list[str]) -> dict[str, str]:
    """The secrets of `--secret`."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            if name not in os.environ:
                hint = f"export {name}=... first, so that its value stays out of the command line"
                raise exits.Fault(f"--secret: `{name}` is not in the environment", hint=hint)
            value = os.environ[name]
        found[name] = value
    return found


def _agree(arguments: argparse.Namespace, view: PlanView) -> None:
    if not view.lawful:
        hint = "narrow or widen `residency` and `data` in the spec, or submit where it is lawful"
        raise exits.Fault(f"refused: {view.verdict}", exits.DENIED, token=LAWLESS, hint=hint)
    if arguments.yes or arguments.json or not parser.terminal():
        return
    answer = input("submit? [Y/n] ").strip().lower()
    if answer not in {"", "y", "yes"}:
        raise exits.Fault("nothing was submitted", exits.INTERRUPTED)


def _submit(client: Client, parsed: Parsed, arguments: argparse.Namespace) -> Submitted:
    body = uploaded(client, parsed, arguments)
    return client.submit(body, tenant=arguments.tenant, idempotency_key=arguments.idempotency_key)


def uploaded(client: Client, parsed: Parsed, arguments: argparse.Namespace) -> bytes:
    """The body of a spec whose local files were uploaded."""
    from tawtin.cli.transfer import upload

    data = parsed.spec.data
    kept: dict[str, str] = {}
    places = [("", parsed.workdir_local)] if parsed.workdir_local is not None else []
    for path, local in [*places, *parsed.mounts_local]:
        artifact = upload(
            client,
            Path(local or "."),
            name=f"{parsed.spec.name}{path or ' workdir'}",
            data_class=data.data_class,
            origin=data.origin,
            tenant=arguments.tenant,
        )
        kept[path] = artifact.id
        if not arguments.json:
            print(f"uploaded {local} ({artifact.files} files, {output.size(artifact.size_bytes)})")
    return parsed.body(workdir=kept.pop("", ""), mounts=kept)


def _detached(submitted: Submitted, arguments: argparse.Namespace) -> int:
    if arguments.json:
        return exits.OK
    for workload in submitted.workloads:
        print(f"submitted {workload.id}")
    first = submitted.workloads[0]
    print(
        f"follow it: tawtin logs -f {first.array.id if first.array and len(submitted.workloads) > 1 else first.id}"
    )
    return exits.OK


def _follow(views: list[WorkloadView], arguments: argparse.Namespace) -> int:
    from tawtin.cli.follow import Follower

    if not arguments.json:
        output.note(
            f"-- submitted {', '.join(view.workload.id for view in views[:4])}{' ...' * (len(views) > 4)}"
        )
    where = session.where(arguments)
    places: dict[str, int] = {}
    while True:
        follower = Follower(where, views, as_json=arguments.json, timeout_s=arguments.timeout, places=places)
        try:
            code = follower.run()
        except KeyboardInterrupt:
            if not _asked_to_cancel(views, arguments):
                return exits.DETACHED
            places = follower.places
            continue
        if code == exits.FAILED and arguments.pass_exit_code:
            codes = [view.workload.exit_code for view in follower.views.values() if view.workload.exit_code]
            return min(codes[0], 255) if codes else code
        return code


def _asked_to_cancel(views: list[WorkloadView], arguments: argparse.Namespace) -> bool:
    """Whether the person wants it ended; it is then being ended, and is followed on."""
    name = views[0].workload.array.id if len(views) > 1 and views[0].workload.array else views[0].workload.id
    answer = "d"
    if parser.terminal():
        try:
            answer = input("\n[d]etach, and it goes on; or [c]ancel it? [d] ").strip().lower() or "d"
        except (EOFError, KeyboardInterrupt):
            answer = "d"
    if not answer.startswith("c"):
        if not arguments.json:
            output.note(
                f"-- detached; it goes on. follow it: tawtin logs -f {name}; end it: tawtin cancel {name}"
            )
        return False
    with session.connect(arguments) as client:
        for view in views:
            client.cancel(view.workload.id)
    return True


VERBS = {"run": _configure}
