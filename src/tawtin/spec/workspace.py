"""What a spec says of a workspace: how it is written, and what it means."""

from __future__ import annotations

from typing import Any, Final

from tawtin.model.workload import Probe, Serving, WorkloadType
from tawtin.model.workload import Workspace as Asked
from tawtin.spec.errors import Problems, shown
from tawtin.spec.job import Job
from tawtin.spec.kinds import Field, Fields, OneOf, Quantity
from tawtin.spec.units import duration_ms

IDLE_MS: Final = 3_600_000
IDLE_MS_MAX: Final = 30 * 86_400_000
START_MS: Final = 1_200_000
"""So long its program may take until it answers first."""
APPS: Final = {
    "jupyterlab": """\
exec jupyter lab --no-browser --ServerApp.sock="$TAWTIN_SOCKET" --ServerApp.sock_mode=0600 \\
    --ServerApp.root_dir="$HOME" --ServerApp.allow_remote_access=True --IdentityProvider.token= \\
    --KernelManager.transport=ipc \\
    --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \\
    --ServerApp.terminado_settings='shell_command=["/bin/bash"]'
""",
    "code-server": """\
exec code-server --socket "$TAWTIN_SOCKET" --auth none --disable-telemetry --disable-update-check "$HOME"
""",
    "shell": """\
exec /usr/bin/python3 -I - <<'PAGE'
import http.server, os, socket, socketserver

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = f"<!doctype html><title>shell</title><p>tawtin workspace shell {os.environ['TAWTIN_NAME']}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self):
        return "door"

socketserver.ThreadingUnixStreamServer(os.environ["TAWTIN_SOCKET"], Page).serve_forever()
PAGE
""",
}
"""What an app's name means as `run`: a program that listens at the Unix socket `$TAWTIN_SOCKET`."""

WORKSPACE: Final = Fields(
    {
        "app": Field(
            OneOf(tuple(APPS)),
            "What it shows; `jupyterlab` without it. Instead, `run` may start a program of yours.",
        ),
        "idle": Field(
            Quantity("a duration"), "After so long without use it rests; an hour without it, never with `0`."
        ),
    }
)
_NOT_HERE: Final[dict[str, tuple[Any, str]]] = {
    "array": (None, "a workspace is one; remove it"),
    "max_duration": (None, "a workspace stays until somebody deletes it; say `workspace.idle`, or remove it"),
    "outputs": (
        [],
        "a workspace has no end at which outputs would be kept: take a snapshot, and remove this",
    ),
    "num_nodes": (1, "a workspace has one node; remove it"),
    "on_partition": ("wait", "a workspace stays at its factory; remove it"),
    "checkpoint": (None, "the home of a workspace stays as it is; remove it"),
    "service": (None, "a workspace is no service of several replicas; remove one"),
    "port": (None, "the program of a workspace listens at the Unix socket `$TAWTIN_SOCKET`; remove it"),
}
"""Field -> its default, and why a workspace has none."""


def alone(job: Job, problems: Problems) -> Serving | None:
    """The one replica that a workspace is."""
    for field, (default, why) in _NOT_HERE.items():
        if getattr(job, field) != default:
            problems.add(field, f"`{field}` has no meaning here: {why}")
    if job.resources.ports is not None:
        problems.add("resources.ports", _NOT_HERE["port"][1])
    if job.network is False:
        problems.add("network", "a workspace is reached over the network; remove it")
    return Serving(replicas=1, probe=Probe(initial_delay_ms=START_MS))


def workspace(job: Job, asked: WorkloadType, problems: Problems) -> Asked | None:
    """What `job` says of its workspace; None if it is none."""
    said = job.workspace
    if asked is not WorkloadType.WORKSPACE:
        if said is not None:
            problems.add("workspace", f"it has `type: {asked.value}` as well; remove one")
        return None
    if said is not None and said.app is not None and job.run.strip():
        problems.add("workspace.app", "`run` says what is started, which is given as well; remove one")
    return Asked(app=_app(job), idle_ms=_idle_ms(job, problems))


def program(job: Job, asked: WorkloadType) -> str:
    """The script that is run: what the spec says, or what the name of its app means."""
    return APPS[_app(job)] if asked is WorkloadType.WORKSPACE and not job.run.strip() else job.run


def _app(job: Job) -> str:
    if job.run.strip():
        return ""
    app = job.workspace.app if job.workspace is not None else None
    return app if app in APPS else "jupyterlab"


def _idle_ms(job: Job, problems: Problems) -> int:
    value = job.workspace.idle if job.workspace is not None else None
    if value is None:
        return IDLE_MS
    try:
        ms = duration_ms(str(value))
    except ValueError as error:
        problems.add("workspace.idle", str(error))
        return IDLE_MS
    if ms > IDLE_MS_MAX:
        problems.add(
            "workspace.idle", f"{shown(str(value))} is too long; 30 days are the most, or `0` for never"
        )
    return ms
