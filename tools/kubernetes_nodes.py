"""Nodes of a test cluster: for each a real kubelet, a containerd of its own, and addresses for its pods. Needs root.

A node claims processors that the machine need not have, so that the scheduler's limits and not the machine decide.

Images are made here, of this machine's own bash and coreutils, and imported: nothing is pulled. A guard process ends
what runs in pods, also when whoever started all of this was killed.

What nodes change of a machine they change of one of their own, which ends with them: pods are connected in a network
namespace that the guard has, where forwarding is on; and each node has a mount namespace, with its own kernel settings
and its own folders in the place of those at fixed paths. Of these folders, empty ones may stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

IMAGE: Final = "tawtin.test/run:1"
"""An image with bash, coreutils and procps, which no registry has."""
GPU: Final = "NVIDIA-H100-80GB-HBM3"
"""What nodes say of GPUs that they claim to have."""
PAUSE: Final = "tawtin.test/pause:1"
PROGRAMS: Final = tuple(
    (
        "bash sh awk base64 basename cat chmod cp cut date dd df dirname echo env expr false find getent grep "
        "head hostname id ln ls mkdir mktemp mv nl nohup od pgrep pkill printf ps pwd readlink realpath rm rmdir sed "
        "seq sha256sum sleep sort split stat stdbuf stty sync tail tee test timeout touch tr true truncate uname uniq "
        "wc which xargs"
    ).split()
)
CNI: Final = "/usr/lib/cni"
CONTROLLERS: Final = (
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified"
)  # fmt: skip
_CGROUPS: Final = Path("/sys/fs/cgroup")
_GROUP: Final = "k8s.io"
"""Where containerd puts containers that nobody says a place for."""
SETTINGS: Final = {
    "kernel/panic": "0",
    "kernel/panic_on_oops": "0",
    "kernel/keys/root_maxbytes": "20000",
    "kernel/keys/root_maxkeys": "200",
    "vm/overcommit_memory": "0",
    "vm/panic_on_oom": "0",
}
"""Settings of the kernel that a kubelet changes, as they are without one."""
FOLDERS: Final = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")
"""What nodes would have together, as these paths are fixed."""
SUBNET: Final = "10.231.{number}.0/24"
"""The addresses of a node's pods, in a network of the cluster's own."""


def missing_for_nodes() -> str:
    """What is not installed; empty if everything is."""
    if os.geteuid() != 0:
        return "needs: root, for nodes that really run pods"
    lost = [name for name in ("containerd", "runc", "ctr", "unshare", "nsenter") if not _tool(name)]
    lost += [name for name in ("ptp", "host-local", "loopback") if not Path(CNI, name).exists()]
    packages = "Debian packages containerd, runc and containernetworking-plugins"
    return f"needs: {packages} ({', '.join(lost)} not found)" if lost else ""


def _tool(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


@dataclass(kw_only=True)
class NodeSet:
    """The nodes of one cluster. `spawn(key, program, *words)` starts a daemon of it, whose process is `pid(key)`."""

    folder: Path
    count: int
    cpus: int
    spawn: Callable[..., None]
    pid: Callable[[str], int]
    _network: str = ""

    @property
    def names(self) -> list[str]:
        """The names of the nodes."""
        return [f"node{number}" for number in range(self.count)]

    def guard(self) -> subprocess.Popen[bytes]:
        """A process that clears everything away when its input ends, which it does at the latest with this process.

        The network of the pods is in its namespace.
        """
        guard = subprocess.Popen(
            [
                _tool("unshare") or "unshare",
                "--net",
                sys.executable,
                "-m",
                "tools.kubernetes_nodes",
                str(self.folder),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,
        )
        assert guard.stdout is not None
        with guard.stdout as said:
            if not said.readline():
                raise OSError("the network of the pods could not be made")
        self._network = f"--net=/proc/{guard.pid}/ns/net"
        return guard

    def socket(self, name: str) -> str:
        """Where the runtime of a node listens."""
        return str(self.folder / name / "run" / "containerd.sock")

    def start_runtimes(self) -> None:
        """Start containerd for every node, and make the images meanwhile."""
        for name in self.names:
            self.start_runtime(name)
        write_images(self.folder / "images.tar")

    def start_runtime(self, name: str) -> None:
        """Start the containerd of a node."""
        here, number = self.folder / name, self.names.index(name)
        for part in ("root", "run", "cni", "kubelet", "logs"):
            (here / part).mkdir(parents=True, exist_ok=True)
        network = {
            "cniVersion": "0.4.0",
            "name": f"tawtin-{name}",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(here / "addresses"),
                        "ranges": [[{"subnet": SUBNET.format(number=number)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        (here / "cni" / "10-pods.conflist").write_text(json.dumps(network))
        (here / "containerd.toml").write_text(_CONTAINERD.format(here=here, pause=PAUSE, cni=CNI))
        make_group()
        machine = here / "machine"
        write_processors(machine, self.cpus)
        write_settings(machine)
        mine = [_tool("unshare") or "unshare", "--mount", "--propagation", "private"]
        script = ["/bin/sh", "-ec", own_mounts(machine), "sh"]
        words = [_tool("containerd") or "containerd", "--config", str(here / "containerd.toml")]
        self.spawn(f"containerd-{name}", _tool("nsenter") or "nsenter", self._network, *mine, *script, *words)

    def import_images(self) -> None:
        """Give every runtime the images. Raises subprocess.CalledProcessError."""
        for name in self.names:
            until = time.monotonic() + 20
            while not Path(self.socket(name)).exists() and time.monotonic() < until:
                time.sleep(0.05)
            words = ["ctr", "-a", self.socket(name), "-n", "k8s.io", "images", "import", "--no-unpack"]
            subprocess.run(
                [*words[:-1], str(self.folder / "images.tar")], check=True, capture_output=True, timeout=60
            )

    def start_kubelet(self, name: str, program: str, kubeconfig: str) -> None:
        """Start the kubelet of a node."""
        here = self.folder / name
        config: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": _free_port(),
            "healthzPort": 0,
            "readOnlyPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self.folder / "ca.crt")},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "containerRuntimeEndpoint": f"unix://{self.socket(name)}",
            "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
            "imageGCHighThresholdPercent": 100,
            "nodeLeaseDurationSeconds": 4,
            "nodeStatusUpdateFrequency": "2s",
            "podLogsDir": str(here / "logs"),
            "resolvConf": "",
            "featureGates": {"KubeletInUserNamespace": True},
            "volumePluginDir": str(here / "plugins"),
        }
        path = here / "kubelet.json"
        path.write_text(json.dumps(config))
        words = {
            "config": str(path), "kubeconfig": kubeconfig, "root-dir": str(here / "kubelet"),
            "cert-dir": str(here / "pki"), "hostname-override": name,
            "node-labels": f"nvidia.com/gpu.product={GPU}",
        }  # fmt: skip
        mounts = f"--mount=/proc/{self.pid(f'containerd-{name}')}/ns/mnt"
        flags = [f"--{key}={value}" for key, value in words.items()]
        self.spawn(name, _tool("nsenter") or "nsenter", mounts, program, *flags)

    def sweep(self, name: str) -> None:
        """End everything that runs on a node."""
        sweep(self.folder, name)


def write_processors(folder: Path, count: int) -> None:
    """What the kernel shows of processors, for a machine that has so many."""
    (folder / "node").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        topology = folder / "cpu" / f"cpu{number}" / "topology"
        topology.mkdir(parents=True, exist_ok=True)
        (topology / "core_id").write_text(f"{number}\n")
        (topology / "physical_package_id").write_text("0\n")
    for name in ("online", "present", "possible"):
        (folder / "cpu" / name).write_text(f"0-{count - 1}\n")


def write_settings(folder: Path) -> None:
    """What a node sees and changes in the place of the kernel's settings, and of folders at fixed paths."""
    for name, value in SETTINGS.items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    for path in FOLDERS:
        (folder / path.lstrip("/")).mkdir(parents=True, exist_ok=True)


def own_mounts(machine: Path) -> str:
    """A script that puts what is in this folder in the machine's place, and then becomes its arguments.

    What it mounts nobody else sees, and goes when the node has ended.
    """
    places = {f"{machine}/{part}": f"/sys/devices/system/{part}" for part in ("cpu", "node")}
    places |= {f"{machine}/sys/{name}": f"/proc/sys/{name}" for name in SETTINGS}
    places |= {f"{machine}{path}": path for path in FOLDERS}
    lines = [f"mount --bind {shlex.quote(own)} {path}" for own, path in places.items()]
    return "\n".join(["mkdir -p " + " ".join(FOLDERS), *lines, 'exec "$@"'])


# --- clearing away ---------------------------------------------------------------------------------------------------


def _groups(name: str) -> list[Path]:
    """A control group in every hierarchy that there is: one of version 2, or one for each controller of version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS / _GROUP / name]
    return [_CGROUPS / part / _GROUP / name for part in CONTROLLERS if (_CGROUPS / part).is_dir()]


def make_group() -> None:
    """The group of all pods has its part of the processors, instead of that of one process. Raises OSError."""
    for path in _groups(""):
        path.mkdir(exist_ok=True)
        for part, much in (("cpu.shares", "16384"), ("cpu.weight", "1600")):
            if (path / part).exists():
                (path / part).write_text(much)
        for part in ("cpuset.cpus", "cpuset.mems"):
            if (path / part).exists() and not (path / part).read_text().strip():
                (path / part).write_text((path.parent / part).read_text())


def sweep(folder: Path, name: str) -> None:
    """End shims and containers of a node, and remove their groups; their mounts end with them."""
    state = folder / name / "run" / "state" / "io.containerd.runtime.v2.task" / "k8s.io"
    groups = [path for entry in (state.iterdir() if state.is_dir() else ()) for path in _groups(entry.name)]
    mark = f"{folder / name / 'run'}".encode()
    for _ in range(100):
        shims = [pid for pid in _processes() if b"containerd-shim" in (line := _line(pid)) and mark in line]
        inside = {int(pid) for path in groups for pid in _text(path / "cgroup.procs").split()}
        if not shims and not inside:
            break
        for pid in [*shims, *inside]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for path in groups:
        with contextlib.suppress(OSError):
            path.rmdir()


def remove_group() -> None:
    """Remove the group of all pods, unless another cluster has some."""
    for path in _groups(""):
        with contextlib.suppress(OSError):
            path.rmdir()


def _loopback_up() -> None:
    """Containerd listens on the loopback of its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        set_flags, is_up = 0x8914, 1
        fcntl.ioctl(control, set_flags, struct.pack("16sh14x", b"lo", is_up))


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _free_port() -> int:
    from tools.kubernetes_cluster import free_ports

    return free_ports(1)[0]


# --- images ----------------------------------------------------------------------------------------------------------


def write_images(target: Path) -> None:
    """An archive of the two images, as `ctr images import` takes it, of this machine's own programs."""
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {"Entrypoint": ["/usr/bin/sleep", "infinity"], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [""]},
    }
    layer = _layer()
    import hashlib

    config["rootfs"]["diff_ids"] = [f"sha256:{hashlib.sha256(layer).hexdigest()}"]  # type: ignore[index]
    entries = [{"Config": "config.json", "RepoTags": [IMAGE, PAUSE], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        for name, body in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer),
            ("manifest.json", json.dumps(entries).encode()),
        ):
            _add(archive, name, body, 0o644)


def _layer() -> bytes:
    programs = {name: found for name in PROGRAMS if (found := shutil.which(name))}
    files: dict[str, str] = {f"usr/bin/{name}": os.path.realpath(path) for name, path in programs.items()}
    extra = ["/usr/libexec/coreutils/libstdbuf.so"]
    listed = subprocess.run(
        ["ldd", *sorted(set(files.values()))], capture_output=True, text=True, check=False
    ).stdout
    libraries = {
        word
        for line in listed.splitlines()
        for word in line.split()
        if word.startswith("/") and word[-1] != ":"
    }
    files |= {path.lstrip("/"): path for path in [*sorted(libraries), *extra] if Path(path).exists()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("usr", "usr/bin", "tmp", "etc", "proc", "dev", "sys", "home"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        link = tarfile.TarInfo("bin")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/bin"
        archive.addfile(link)
        for name, path in sorted(files.items()):
            _add(archive, name, Path(path).read_bytes(), 0o755)
        _add(archive, "etc/passwd", b"root:x:0:0::/:/bin/bash\n", 0o644)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, body: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(body), mode
    archive.addfile(entry, io.BytesIO(body))


_CONTAINERD: Final = """\
version = 2
root = "{here}/root"
state = "{here}/run/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{here}/run/containerd.sock"
[ttrpc]
address = "{here}/run/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
tolerate_missing_hugetlb_controller = true
disable_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{here}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
"""


def main() -> None:
    """Wait until the input ends; then clear the nodes of a folder away."""
    folder = Path(sys.argv[1])
    _loopback_up()
    print("ready", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.buffer.read()
    for path in sorted(folder.glob("node*/containerd.toml")):
        sweep(folder, path.parent.name)
    remove_group()
    if not (folder / "keep").exists():
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
