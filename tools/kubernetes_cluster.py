"""A real Kubernetes on this machine, started by hand in a folder and gone with it: for tests and benchmarks.

Debian's etcd, and as `kubernetes_build` builds them: apiserver, scheduler, controller-manager, and for each node a
kubelet with a containerd of its own (`kubernetes_nodes`). Everything listens on loopback. Nodes need root; a
control plane alone does not. GPUs are declared: an extended resource that the nodes claim to have.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from tools import kubernetes_build
from tools.kubernetes_nodes import NodeSet, missing_for_nodes
from tools.kubernetes_trust import Trust

SERVICES: Final = "10.96.0.0/24"
CONTROLLERS: Final = "*,-bootstrap-signer-controller,-token-cleaner-controller"
GRACE_S: Final = 6
"""A node that is silent for so long is not ready."""


class ClusterError(Exception):
    """Kubernetes could not be started, or did not do its work in time."""


def tool(name: str) -> str | None:
    """Where a program is, daemons in sbin included."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def missing(*, nodes: bool = True) -> str:
    """What is not installed; empty if everything is. Without `nodes`, what a control plane alone needs."""
    lost = kubernetes_build.missing()
    if lost:
        return lost
    if not tool("etcd"):
        return "needs: Debian package etcd-server (etcd not found)"
    return missing_for_nodes() if nodes else ""


@dataclass(kw_only=True)
class Cluster:
    """A Kubernetes of some nodes in an existing folder. `start`, and `stop` in any case."""

    folder: Path
    nodes: int = 1
    cpus: int = 16
    """That each node claims to have."""
    gpus: int = 0
    """On each node."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])
    ports: dict[str, int] = field(default_factory=dict[str, int])
    trust: Trust = field(init=False)
    node_set: NodeSet = field(init=False)
    _guard: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        """The address of the API server."""
        return f"https://127.0.0.1:{self.ports['apiserver']}"

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig that may do everything."""
        return str(self.folder / "admin.kubeconfig")

    def start(self) -> None:
        """Start everything, each part in a session of its own, and wait until it is ready."""
        names = ("etcd", "peers", "apiserver", "scheduler", "manager")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.trust = Trust(self.folder)
        self.trust.server("apiserver", "127.0.0.1", "10.96.0.1")
        self.trust.client("admin", "admin", "system:masters", self.server)
        self.trust.client("scheduler", "system:kube-scheduler", "", self.server)
        self.trust.client("manager", "system:kube-controller-manager", "", self.server)
        self.node_set = NodeSet(
            folder=self.folder,
            count=self.nodes,
            cpus=self.cpus,
            spawn=self._daemon,
            pid=lambda key: self.processes[key].pid,
        )
        for name in self.node_set.names:
            self.trust.client(name, f"system:node:{name}", "system:nodes", self.server)
        if self.nodes:
            self._guard = self.node_set.guard()
            self.node_set.start_runtimes()
        self.start_etcd()
        self.start_apiserver()
        self.start_scheduler()
        self.start_manager()
        for name in self.node_set.names:
            self.start_node(name)
        self.node_set.import_images()
        self.wait(
            lambda: self.call("GET", "/api/v1/namespaces/default/serviceaccounts/default"), "no accounts", 30
        )
        self.wait_ready()

    def start_etcd(self) -> None:
        """Start the store of everything."""
        client, peer = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "peers"))
        words = {
            "name": "test", "data-dir": str(self.folder / "etcd"), "listen-client-urls": client,
            "advertise-client-urls": client, "listen-peer-urls": peer, "initial-advertise-peer-urls": peer,
            "initial-cluster": f"test={peer}", "log-level": "error",
        }  # fmt: skip
        self._daemon("etcd", tool("etcd") or "etcd", *_flags(words))

    def start_apiserver(self) -> None:
        """Start the API server, and wait until it answers."""
        words = {
            "etcd-servers": f"http://127.0.0.1:{self.ports['etcd']}",
            "bind-address": "127.0.0.1",
            "secure-port": str(self.ports["apiserver"]),
            "endpoint-reconciler-type": "none",
            "service-cluster-ip-range": SERVICES,
            "client-ca-file": self._file("ca.crt"),
            "tls-cert-file": self._file("apiserver.crt"),
            "tls-private-key-file": self._file("apiserver.key"),
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._file("accounts.pub"),
            "service-account-signing-key-file": self._file("accounts.key"),
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "shutdown-delay-duration": "0s",
            "profiling": "false",
        }
        self._daemon("apiserver", self._program("kube-apiserver"), *_flags(words))
        self.wait(lambda: self.call("GET", "/readyz", plain=True) == "ok", "the API server is not ready", 60)

    def start_scheduler(self) -> None:
        """Start the scheduler."""
        words = {
            "kubeconfig": self._file("scheduler.kubeconfig"), "leader-elect": "false", "bind-address": "127.0.0.1",
            "secure-port": str(self.ports["scheduler"]), "profiling": "false",
        }  # fmt: skip
        self._daemon("scheduler", self._program("kube-scheduler"), *_flags(words))

    def start_manager(self) -> None:
        """Start the controllers."""
        words = {
            "kubeconfig": self._file("manager.kubeconfig"),
            "leader-elect": "false",
            "bind-address": "127.0.0.1",
            "secure-port": str(self.ports["manager"]),
            "profiling": "false",
            "controllers": CONTROLLERS,
            "use-service-account-credentials": "true",
            "root-ca-file": self._file("ca.crt"),
            "service-account-private-key-file": self._file("accounts.key"),
            "node-monitor-period": "1s",
            "node-monitor-grace-period": f"{GRACE_S}s",
        }
        self._daemon("manager", self._program("kube-controller-manager"), *_flags(words))

    def start_node(self, name: str) -> None:
        """Start the kubelet of a node."""
        self.node_set.start_kubelet(name, self._program("kubelet"), self._file(f"{name}.kubeconfig"))

    def kill(self, name: str) -> None:
        """Kill one part: `apiserver`, `etcd`, `scheduler`, `manager`, or the kubelet of a node. Pods run on."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def kill_node(self, name: str) -> None:
        """Everything of a node ends at once: its kubelet, its runtime, and what runs there."""
        self.kill(name)
        self.kill(f"containerd-{name}")
        self.node_set.sweep(name)

    def wait_ready(self) -> None:
        """Wait until every node is ready and has its GPUs."""
        self.wait(self._claim, "the nodes did not get ready", 60)

    def _claim(self) -> bool:
        """Have nodes that are there claim their GPUs; whether all are ready."""
        found = self.call("GET", "/api/v1/nodes")
        items: list[dict[str, Any]] = found["items"] if found else []
        ready = 0
        for item in items:
            status, path = item["status"], f"/api/v1/nodes/{item['metadata']['name']}/status"
            conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
            has = status.get("capacity", {}).get("nvidia.com/gpu", "0") == str(self.gpus)
            if not has:
                change = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(self.gpus)}]
                self.call("PATCH", path, change, kind="application/json-patch+json")
                continue
            fits = status.get("allocatable", {}).get("nvidia.com/gpu", "0") == str(self.gpus)
            ready += conditions.get("Ready") == "True" and fits and not item["spec"].get("taints")
        return ready == self.nodes

    def stop(self) -> None:
        """End what was started, last first, with everything that runs on its nodes."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
        self.processes.clear()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait()

    def call(
        self, method: str, path: str, body: object = None, *, plain: bool = False, kind: str = ""
    ) -> Any:  # noqa: ANN401 - JSON
        """What the API server answers; None if that is no success. Raises nothing."""
        context = ssl.create_default_context(cafile=self._file("ca.crt"))
        context.load_cert_chain(self._file("admin.crt"), self._file("admin.key"))
        request = urllib.request.Request(f"{self.server}{path}", method=method)  # noqa: S310 - our own server
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", kind or "application/json")
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310 - the same
                data: bytes = answer.read()
        except OSError:
            return None
        return data.decode() if plain else json.loads(data)

    def wait(self, is_so: Callable[[], object], otherwise: str, seconds: float) -> None:
        """Wait until something is so. Raises ClusterError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if is_so():
                return
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead:
                raise ClusterError(f"{', '.join(dead)} ended; see {self.folder}: {self._last_words(dead[0])}")
            time.sleep(0.05)
        raise ClusterError(f"{otherwise} within {seconds:g} s; see {self.folder}")

    def _last_words(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text("utf-8", "replace")[-600:]

    def _file(self, name: str) -> str:
        return str(self.folder / name)

    def _program(self, name: str) -> str:
        if kubernetes_build.missing():
            raise ClusterError(kubernetes_build.missing())
        return str(kubernetes_build.folder() / name)

    def _daemon(self, key: str, program: str, *words: str) -> None:
        """Start one, tied to this process: it ends with it, however that ends."""
        tie = tool("setpriv")
        tied = [tie, "--pdeathsig", "KILL"] if tie else []
        out: IO[bytes]
        with (self.folder / f"{key}.out").open("ab") as out:
            self.processes[key] = subprocess.Popen(
                [*tied, program, *words], stdout=out, stderr=out, start_new_session=True
            )


@contextmanager
def cluster(*, nodes: int = 1, gpus: int = 0) -> Generator[Cluster]:
    """A Kubernetes that is ended with the block. Raises ClusterError."""
    with tempfile.TemporaryDirectory(prefix="tawtin-k8s-", ignore_cleanup_errors=True) as folder:
        made = Cluster(folder=Path(folder), nodes=nodes, gpus=gpus)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _flags(words: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in words.items()]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    taken = [socket.socket() for _ in range(count)]
    for each in taken:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in taken]
    for each in taken:
        each.close()
    return ports
