"""`tawtin ps`: workloads, newest first. Reads the answer as plain data, as importing the records takes longer."""

from __future__ import annotations

import argparse
import json
import sys
import time

from tawtin.cli import exits, fast, output, parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

STATUSES = ("queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled")
PHASES = {"starting": "placed", "running": "placed", "stopping": "placed"}
PAGE = 1000
WATCH_S = 2


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin ps  # what is not over, and what ended in the last hour",
        "tawtin ps --all --limit 500",
        "tawtin ps --status failed,cancelled --json",
        "tawtin ps --watch  # again every two seconds",
    )
    verb.add_argument("-a", "--all", action="store_true", help="those that are over as well, however old")
    verb.add_argument("--status", metavar="A,B", help=f"only these: {', '.join(STATUSES)}")
    verb.add_argument("--tenant", help="only this tenant's (for admins)")
    verb.add_argument("-n", "--limit", type=parser.count, default=100, help="at most so many (default: 100)")
    verb.add_argument(
        "-w", "--watch", action="store_true", help="show it again every two seconds, until Ctrl-C"
    )
    parser.remote(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the list."""
    wanted = _statuses(arguments.status)
    while True:
        items = _fetch(arguments, wanted)
        if arguments.json:
            print(json.dumps({"items": items}))
        else:
            if arguments.watch and sys.stdout.isatty():
                print("\x1b[2J\x1b[H", end="")
            print(table(items, int(time.time() * 1000)))
        if not arguments.watch:
            return exits.OK
        sys.stdout.flush()
        time.sleep(WATCH_S)


def _statuses(text: str | None) -> list[str]:
    wanted = [each.strip() for each in (text or "").split(",") if each.strip()]
    for each in wanted:
        if each not in STATUSES:
            raise exits.Fault(
                f"--status: there is no status `{each}`", hint=f"statuses are {', '.join(STATUSES)}"
            )
    return wanted


def _fetch(arguments: argparse.Namespace, wanted: list[str]) -> list[Json]:
    since_ms = int(time.time() * 1000) - 3_600_000
    phases = tuple(dict.fromkeys(PHASES.get(each, each) for each in wanted))
    found: list[Json] = []
    before = ""
    while len(found) < arguments.limit:
        page = _page(arguments, phases, before)
        for view in page["items"]:
            ended = view["workload"].get("finished_ms")
            recent = arguments.all or wanted or ended is None or ended >= since_ms
            if recent and (not wanted or view["status"] in wanted):
                found.append(view)
        before = page.get("next", "")
        if not before:
            break
    return found[: arguments.limit]


def _page(arguments: argparse.Namespace, phases: tuple[str, ...], before: str) -> Json:
    limit = min(PAGE, arguments.limit)
    if not (arguments.factory or arguments.key_file or arguments.tenant):
        query = f"limit={limit}" + (f"&phase={','.join(phases)}" if phases else "")
        page = fast.get(f"/api/v1/workloads?{query}" + (f"&before={before}" if before else ""))
        if page is not None:
            return page
    from tawtin.cli import session
    from tawtin.client.calls import Call
    from tawtin.client.flows import send

    asked = {"limit": limit, "tenant": arguments.tenant, "phase": phases, "before": before}
    with session.connect(arguments) as client:
        return client.finish(send(Call("GET", "/workloads", json.loads, query=asked)))


def table(items: list[Json], now_ms: int) -> str:
    """Return the list for people."""
    if not items:
        return "no workloads; `tawtin ps --all` shows older ones, `tawtin run` submits one"
    rows = [_row(view, now_ms) for view in items]
    return output.columns(
        ["ID", "NAME", "STATUS", "TENANT", "GPUS", "AGE", "WHY / HOW IT ENDED"], rows, colour=2
    )


def _row(view: Json, now_ms: int) -> list[str]:
    workload = view["workload"]
    spec, run, waiting = workload["spec"], view.get("run"), view.get("waiting")
    array = workload.get("array")
    name = f"{spec['name']}[{array['index']}]" if array else spec["name"]
    shape = run["shape"] if run else spec["demand"]["options"][0]
    nodes = spec["demand"].get("nodes", 1)
    gpus = shape.get("gpus", 0) * nodes
    kind = f" {shape['gpu_model']}" if gpus and shape.get("gpu_model") else ""
    declared = "*" if run and run.get("usage", {}).get("gpus_declared") else ""
    return [
        workload["id"],
        name,
        view["status"],
        workload["tenant"],
        f"{gpus}{kind}{declared}" if gpus else "-",
        output.span(now_ms - workload["submitted_ms"]),
        _why(view["status"], workload, waiting, now_ms),
    ]


def _why(status: str, workload: Json, waiting: Json | None, now_ms: int) -> str:
    if waiting:
        start = waiting.get("start_ms")
        when = f"start in about {output.span(start - now_ms)}" if start is not None else "no start in sight"
        return f"{waiting['reason']}, {when}"
    if status == "failed":
        code = workload.get("exit_code")
        parts = [workload.get("cause", ""), f"exit {code}" if code else "", workload.get("message", "")]
        return ", ".join(part for part in parts if part and part != "Completed")
    return ""


VERBS = {"ps": _configure}
