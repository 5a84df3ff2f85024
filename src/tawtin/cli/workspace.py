"""`tawtin workspace`: a program with pages and a home that stays, for one person; it rests while nobody uses it."""

from __future__ import annotations

import argparse
import re
import time
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, session

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.views import PlanView
    from tawtin.model.workspaces import WorkspaceView
    from tawtin.spec import Parsed

APPS = ("jupyterlab", "code-server", "shell")
UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
LOOK_S = 0.25
LOOK_S_MAX = 2.0
NOTHING = "there are no workspaces: tawtin workspace create NAME makes one"


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin workspace create lab --cpus 2 --memory 4GB",
        "tawtin workspace open lab --browser",
        "tawtin workspace start lab --for 4h  # it does not rest before",
        "tawtin workspace stop lab  # its programs end, its home stays",
        "tawtin workspace delete lab",
    )
    actions = parser.verbs(verb)
    _configure_create(parser.sub(actions, "create", "make a workspace, and wait until it is ready"))
    listed = parser.sub(actions, "list", "list workspaces")
    parser.example(listed, "tawtin workspace list", "tawtin workspace list --json")
    listed.set_defaults(call=workspace_list)
    for name, summary, more, call in (
        ("show", "show one workspace, and what it costs", "", workspace_show),
        ("open", "print an address that lets one browser in, for a minute", " --browser", workspace_open),
        ("start", "wake it, and wait until it is ready", " --for 4h", workspace_start),
        ("extend", "let it rest by itself later than it would", " --by 2h", workspace_extend),
        ("stop", "let it rest: its programs end, its home stays", "", workspace_stop),
        ("share", "let everybody of its tenant look at it", "", workspace_share),
        ("unshare", "let nobody look at it any more but its teachers", "", workspace_unshare),
        ("delete", "end it for good, with its home", " --yes", workspace_delete),
    ):
        action = parser.sub(actions, name, summary)
        parser.example(action, f"tawtin workspace {name} lab{more}")
        action.add_argument("name", help="of the workspace: tawtin workspace list")
        action.set_defaults(call=call)
    actions.choices["open"].add_argument("--browser", action="store_true", help="open it there as well")
    actions.choices["start"].add_argument(
        "--for", dest="for_ms", type=span_ms, default=0, metavar="TIME", help="do not rest before, such as 4h"
    )
    actions.choices["extend"].add_argument(
        "--by", dest="by_ms", type=span_ms, required=True, metavar="TIME", help="so much later, such as 2h"
    )
    actions.choices["delete"].add_argument(
        "-y", "--yes", action="store_true", help="do not ask; without a terminal it is needed"
    )
    for name in ("create", "start"):
        actions.choices[name].add_argument("--no-wait", action="store_true", help="return at once")
        actions.choices[name].add_argument(
            "--timeout", type=parser.count, metavar="S", help="wait no longer than S seconds; it goes on"
        )
    for action in actions.choices.values():
        action.add_argument("--tenant", help="of another tenant (for admins, and teachers who look)")
        parser.remote(action)


def _configure_create(create: argparse.ArgumentParser) -> None:
    parser.example(
        create,
        "tawtin workspace create lab --app jupyterlab --gpus H100:1 --idle 30m",
        "tawtin workspace create -f lab.yaml",
    )
    create.add_argument("name", nargs="?", help="letters, digits, `_`, `.` and `-`")
    create.add_argument(
        "-f", "--file", metavar="SPEC", help="a spec with `type: workspace` instead of the flags"
    )
    fields(create)
    create.add_argument(
        "-y", "--yes", action="store_true", help="do not ask; without a terminal nobody is asked"
    )
    create.set_defaults(call=workspace_create)


def fields(verb: argparse.ArgumentParser) -> None:
    """Add the flags that say what a workspace is."""
    verb.add_argument("--app", choices=APPS, help="what it shows (default: jupyterlab)")
    verb.add_argument("--run", metavar="SCRIPT", help="instead, a program that listens at $TAWTIN_SOCKET")
    verb.add_argument("--gpus", metavar="[MODEL:]N", help="its GPUs, such as H100:1")
    verb.add_argument("--cpus", metavar="N", help="its processors")
    verb.add_argument("--memory", metavar="SIZE", help="its memory, such as 16GB")
    verb.add_argument(
        "--idle", metavar="TIME", help="it rests after so long without use; 0 for never (default: 1h)"
    )
    verb.add_argument(
        "--workdir", metavar="ARTIFACT", help="what its home begins with: an artifact, or a folder"
    )
    verb.add_argument(
        "--class", dest="data_class", help="of its data: public, personal, ... (default: public)"
    )
    verb.add_argument("--origin", metavar="CC", help="country of its data; else the factory's")


def span_ms(text: str) -> int:
    """Return a time such as `30m`, `4h` or `2d` in milliseconds, for `type=`."""
    found = re.fullmatch(r"([1-9]\d{0,4})([mhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"`{text}` is no time: write it like 30m, 4h or 2d")
    return int(found[1]) * UNITS_MS[found[2]]


# --- create ----------------------------------------------------------------------------------------------------------


def read(arguments: argparse.Namespace, name: str | None) -> Parsed:
    """The spec that a file or the flags say. Raises Fault."""
    from tawtin.cli import plan

    if arguments.file:
        given = [flag for flag in ("app", "run", "gpus", "cpus", "memory", "idle", "workdir", "data_class", "origin")
                 if getattr(arguments, flag) is not None]  # fmt: skip
        if given or name:
            what = f"--{given[0].replace('data_', '')}" if given else f"the name `{name}`"
            raise exits.Fault(f"{what} does not go with -f", hint=f"write it into `{arguments.file}`")
        parsed = plan.read_file(arguments.file, envs={}, secrets={})
        if parsed.spec.workspace is None:
            raise exits.Fault(f"`{arguments.file}` is no workspace", hint="add `type: workspace` to it")
        return parsed
    if not name:
        raise exits.Fault("a workspace needs a name", hint="tawtin workspace create NAME, or -f SPEC")
    return _of_flags(arguments, name)


def _of_flags(arguments: argparse.Namespace, name: str) -> Parsed:
    from tawtin.cli import plan
    from tawtin.spec import Job, Resources, SpecError, parse_job
    from tawtin.spec.job import DataUse, WorkspaceUse

    gpus: str | None = arguments.gpus
    job = Job(
        name=name,
        type="workspace",
        run=arguments.run or "",
        workdir=arguments.workdir or "",
        workspace=WorkspaceUse(app=arguments.app, idle=arguments.idle),
        resources=Resources(
            accelerators=f"any:{gpus}" if gpus is not None and gpus.isdecimal() else gpus,
            cpus=arguments.cpus,
            memory=arguments.memory,
        ),
        data=DataUse(data_class=arguments.data_class or "public", origin=arguments.origin or ""),
    )
    try:
        return parse_job(job)
    except SpecError as error:
        raise plan.fault(error) from None


def workspace_create(arguments: argparse.Namespace) -> int:
    """Make one: the plan, the question, the submission, the wait."""
    from tawtin.cli import plan, run

    parsed = read(arguments, arguments.name)
    name = parsed.spec.name
    with session.connect(arguments) as client, plan.placed(parsed):
        view = client.plan(plan.plan_body(parsed), tenant=arguments.tenant)
        who = client.whoami()
        if not arguments.json:
            print("\n".join(plan.words(parsed, view, who)), flush=True)
        _agree(arguments, view)
        body = run.uploaded(client, parsed, arguments)
        client.submit(body, tenant=arguments.tenant)
        return _waited(client, arguments, name)


def _agree(arguments: argparse.Namespace, view: PlanView) -> None:
    if not view.lawful:
        raise exits.Fault(
            f"refused: {view.verdict}",
            exits.DENIED,
            token="NoLawfulFactory",  # noqa: S106 - a name for programs
            hint="name another --class or --origin, or a factory where it is lawful",
        )
    if not (arguments.yes or arguments.json) and parser.terminal():
        answer = input("make it? [Y/n] ").strip().lower()
        if answer not in {"", "y", "yes"}:
            raise exits.Fault("nothing was made", exits.INTERRUPTED)


# --- waiting ---------------------------------------------------------------------------------------------------------


def _waited(client: Client, arguments: argparse.Namespace, name: str) -> int:
    """Wait until it is ready, and show it."""
    view = client.workspace(name, tenant=arguments.tenant)
    if not arguments.no_wait:
        view = _ready(client, arguments, view)
    shown = _show(arguments, view, session.currency(client))
    return shown if arguments.no_wait or view.state == "ready" else exits.DETACHED


def _ready(client: Client, arguments: argparse.Namespace, view: WorkspaceView) -> WorkspaceView:
    """Look until it is ready, or the time is over. Raises Fault when its program ended."""
    line, said = output.StatusLine(), ""
    until = None if arguments.timeout is None else time.monotonic() + arguments.timeout
    pause = LOOK_S
    try:
        while view.state != "ready" and (until is None or time.monotonic() < until):
            words = view.state.value + (f": {output.clean(view.why)}" if view.why else "")
            line.show(f"{words} - {output.span(int(time.time() * 1000) - view.since_ms)}")
            if words != said and not line.wanted and not arguments.json:
                output.note(f"-- {words}")
            said = words
            _ended(client, view)
            time.sleep(pause)
            pause = min(1.5 * pause, LOOK_S_MAX)
            view = client.workspace(view.name, tenant=view.tenant)
    except KeyboardInterrupt:
        output.note(f"\n-- it goes on; look at it: tawtin workspace show {view.name}")
        raise
    finally:
        line.clear()
    return view


def _ended(client: Client, view: WorkspaceView) -> None:
    """Raise Fault if the last run that is over ended by itself: the next one would too."""
    last = max(
        (each for each in client.runs(view.workload) if each.ended_ms),
        key=lambda each: each.epoch,
        default=None,
    )
    if last is None or last.cause not in {"Completed", "SetupFailed"}:
        return
    code = "" if last.exit_code is None else f" with exit code {last.exit_code}"
    why = f" ({output.clean(last.message)})" if last.message else ""
    raise exits.Fault(
        f"the program of `{view.name}` ended{code}{why}, and is started again after a pause",
        exits.FAILED,
        hint=f"read what it said: tawtin logs {view.workload}",
    )


# --- what is done with one -------------------------------------------------------------------------------------------


def workspace_list(arguments: argparse.Namespace) -> int:
    """List."""
    with session.connect(arguments) as client:
        found = client.workspaces(tenant=arguments.tenant)
        currency = session.currency(client) if found else ""
    if arguments.json:
        output.emit({"items": found})
    elif not found:
        print(NOTHING)
    else:
        header = ["NAME", "TENANT", "STATE", "APP", "HAS", "AN HOUR", "USED", "MAY", "WHY"]
        rows = [
            [
                each.name,
                each.tenant,
                each.state.value,
                each.app or "own",
                session.shape_words(each.shape),
                output.amount(each.cost_minor_per_hour, currency),
                output.moment(each.used_ms) if each.used_ms else "-",
                each.may or "-",
                each.why,
            ]
            for each in found
        ]
        print(output.columns(header, rows, colour=2))
    return exits.OK


def workspace_show(arguments: argparse.Namespace) -> int:
    """Show."""
    with session.connect(arguments) as client:
        view = client.workspace(arguments.name, tenant=arguments.tenant)
        return _show(arguments, view, session.currency(client))


def workspace_open(arguments: argparse.Namespace) -> int:
    """Print the way in."""
    with session.connect(arguments) as client:
        opened = client.open_workspace(arguments.name, tenant=arguments.tenant)
    if arguments.json:
        output.emit(opened)
    else:
        print(opened.url)
        what = "to look, not to change anything; " if opened.read_only else ""
        output.note(f"{what}for one browser, until {output.moment(opened.until_ms)}")
    if arguments.browser:
        import webbrowser

        if not webbrowser.open(opened.url):
            raise exits.Fault("no browser was found on this machine", hint="open the address in one yourself")
    return exits.OK


def workspace_start(arguments: argparse.Namespace) -> int:
    """Wake."""
    with session.connect(arguments) as client:
        client.start_workspace(arguments.name, for_ms=arguments.for_ms, tenant=arguments.tenant)
        return _waited(client, arguments, arguments.name)


def workspace_extend(arguments: argparse.Namespace) -> int:
    """Keep it awake longer: from the time until which it is kept, or from now."""
    with session.connect(arguments) as client:
        view = client.workspace(arguments.name, tenant=arguments.tenant)
        if view.state == "resting":
            raise exits.Fault(
                f"`{view.name}` rests",
                exits.CONFLICT,
                hint=f"wake it: tawtin workspace start {view.name} --for 2h",
            )
        left_ms = max(0, view.awake_until_ms - int(time.time() * 1000))
        view = client.start_workspace(
            arguments.name, for_ms=left_ms + arguments.by_ms, tenant=arguments.tenant
        )
        return _show(arguments, view, session.currency(client))


def workspace_stop(arguments: argparse.Namespace) -> int:
    """Let it rest."""
    with session.connect(arguments) as client:
        view = client.stop_workspace(arguments.name, tenant=arguments.tenant)
        return _show(arguments, view, session.currency(client))


def workspace_share(arguments: argparse.Namespace) -> int:
    """Share."""
    return _shared(arguments, shared=True)


def workspace_unshare(arguments: argparse.Namespace) -> int:
    """Share no longer."""
    return _shared(arguments, shared=False)


def _shared(arguments: argparse.Namespace, *, shared: bool) -> int:
    with session.connect(arguments) as client:
        view = client.share_workspace(arguments.name, shared=shared, tenant=arguments.tenant)
        return _show(arguments, view, session.currency(client))


def workspace_delete(arguments: argparse.Namespace) -> int:
    """Delete, after a question: its home is gone with it."""
    with session.connect(arguments) as client:
        view = client.workspace(arguments.name, tenant=arguments.tenant)
        agree(arguments.yes, f"delete workspace `{view.name}` of `{view.tenant}` with its home?")
        view = client.delete_workspace(arguments.name, tenant=arguments.tenant)
    if arguments.json:
        output.emit(view)
    else:
        print(f"{view.name}  deleted, with its home")
    return exits.OK


def agree(yes: bool, question: str) -> None:  # noqa: FBT001 - what a flag said
    """Ask before something that cannot be taken back. Raises Fault without a yes."""
    if yes:
        return
    if not parser.terminal():
        raise exits.Fault("nothing was done: nobody can be asked here", hint="add --yes if it is meant")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise exits.Fault("nothing was done", exits.INTERRUPTED)


def _show(arguments: argparse.Namespace, view: WorkspaceView, currency: str) -> int:
    if arguments.json:
        output.emit(view)
        return exits.OK
    state = output.paint(view.state.value, output.STATUS_COLOURS.get(view.state.value, ""))
    why = f": {output.clean(view.why)}" if view.why else ""
    owner = f"made by key {view.owner} {output.clean(view.owner_name)}".rstrip()
    spent = f"its ended runs cost {output.amount(view.spent_minor, currency)}"
    lines = [
        ("workspace", f"{view.name} of {view.tenant}, {owner}"),
        ("state", f"{state} since {output.moment(view.since_ms)}{why}"),
        ("app", view.app or "a program of its own"),
        ("has", session.shape_words(view.shape)),
        ("price", f"{output.amount(view.cost_minor_per_hour, currency)} an hour; {spent}"),
        ("rests", f"after {output.span(view.idle_ms)} without use" if view.idle_ms else "only when told to"),
    ]
    if view.awake_until_ms > int(time.time() * 1000):
        lines.append(("awake", f"until {output.moment(view.awake_until_ms)} at least"))
    lines += [
        ("used", output.moment(view.used_ms) if view.used_ms else "not since the factory was started"),
        ("shared", "everybody of its tenant may look" if view.shared else "no"),
        ("workload", view.workload),
    ]
    if view.address and view.may:
        lines.append(("open it", f"tawtin workspace open {view.name}"))
    print("\n".join(f"{name + ':':<11}{text}" for name, text in lines))
    return exits.OK


VERBS = {"workspace": _configure}
