"""The walls around a run, as options of bubblewrap: what it sees, and that it has no rights.

As root no user namespace is made: bubblewrap sets up the mounts with real rights and then `setpriv` becomes the
tenant's user without any. Otherwise everything happens in a user namespace.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from dataclasses import dataclass, field
from typing import Final

from tawtin.engines.local.spawn import ARGS_FD, SCRIPT_FD, SECCOMP_FD, STATUS_FD
from tawtin.model.workload import SANDBOX_HOME, SANDBOX_WORK

SCRIPTS: Final = "/run/tawtin"
TMP: Final = "/tmp"  # noqa: S108 - the sandbox's own
_ETC: Final = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "ca-certificates", "pki", "localtime", "timezone",
    "alternatives", "mime.types", "protocols", "services", "bash.bashrc", "profile.d", "nsswitch.conf", "host.conf",
    "gai.conf",
    "OpenCL", "vulkan", "glvnd", "fonts", "magic", "locale.alias", "debian_version", "os-release", "R", "java",
)  # fmt: skip
"""What programs look for in /etc; the rest of it, host keys and password hashes among it, is not shown."""
_ETC_NETWORK: Final = ("resolv.conf", "hosts")
_ETC_DEPTH_MAX: Final = 6
_ETC_FILE_BYTES_MAX: Final = 4 << 20
_SYSTEM: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What is the same for all runs of an engine."""

    bwrap: str = ""
    """Path of bubblewrap; empty where there is no sandbox."""
    setpriv: str = ""
    """Path of setpriv, needed as root."""
    as_root: bool = False
    seccomp: bytes = b""
    expose: tuple[str, ...] = ()
    etc: str = ""
    """Folder that runs see as /etc, made by `copy_etc`."""

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self.bwrap)


@dataclass(frozen=True, kw_only=True)
class View:
    """What one run sees."""

    files: str
    """Its own folder, with home, work and tmp."""
    scripts: tuple[str, ...]
    """Paths of files that are written from descriptors, the first of which is `SCRIPT_FD`."""
    uid: int
    gid: int
    network: bool
    shm_bytes: int
    mounts: tuple[tuple[str, str], ...] = ()
    """(path here, path in the sandbox), read-only."""
    devices: tuple[str, ...] = field(default=())


def options(box: Sandbox, view: View) -> list[str]:
    """The options of bubblewrap that make `view`, to be read from a descriptor."""
    args = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "tawtin"]
    if not view.network:
        args.append("--unshare-net")
    if box.as_root:
        args += [
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CAP_SETUID",
            "--cap-add",
            "CAP_SETGID",
            "--cap-add",
            "CAP_SETPCAP",
        ]
    else:
        args += [
            "--unshare-user",
            "--disable-userns",
            "--uid",
            str(view.uid),
            "--gid",
            str(view.gid),
            "--cap-drop",
            "ALL",
        ]
    args += ["--die-with-parent", "--new-session", "--json-status-fd", str(STATUS_FD)]
    if box.seccomp:
        args += ["--seccomp", str(SECCOMP_FD)]
    made: set[str] = {"/"}
    args += _system(view, box, made)
    files = view.files
    own = ((f"{files}/home", SANDBOX_HOME), (f"{files}/work", SANDBOX_WORK), (f"{files}/tmp", TMP))  # noqa: S108 - below its own folder
    for source, target in own:
        args += [*_parents(target, made, inside=SANDBOX_HOME), "--bind", source, target]
    inside = (SANDBOX_HOME, TMP)
    for path in box.expose:
        if not _covered(path, ("/usr", *box.expose)):
            args += [*_parents(path, made), "--ro-bind", path, path]
    for source, target in view.mounts:
        within = next((top for top in inside if target.startswith(f"{top}/")), "")
        args += [*_parents(target, made, inside=within), "--ro-bind", source, target]
    args += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]
    return args


def _system(view: View, box: Sandbox, made: set[str]) -> list[str]:
    args = ["--ro-bind", "/usr", "/usr"]
    made.add("/usr")
    for path in _SYSTEM:
        if os.path.islink(path):
            args += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            args += ["--ro-bind", path, path]
    args += ["--ro-bind", box.etc, "/etc"]
    made.add("/etc")
    if view.network:
        for name in _ETC_NETWORK:
            args += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    args += ["--proc", "/proc", "--dev", "/dev"]
    args += ["--perms", "1777", "--size", str(view.shm_bytes), "--tmpfs", "/dev/shm"]  # noqa: S108
    for device in view.devices:
        args += ["--dev-bind-try", device, device]
    if view.devices:
        args += ["--ro-bind-try", "/sys", "/sys"]
    for number, path in enumerate(view.scripts, SCRIPT_FD):
        args += [*_parents(path, made), "--perms", "0644", "--file", str(number), path]
    return args


def _parents(target: str, made: set[str], *, inside: str = "") -> list[str]:
    """Make the folders above `target`, readable by all; those inside the tenant's own folders are made elsewhere."""
    args: list[str] = []
    parts = target.split("/")[1:-1]
    for depth in range(1, len(parts) + 1):
        path = "/" + "/".join(parts[:depth])
        if (
            path in made
            or (inside and (path == inside or path.startswith(f"{inside}/")))
            or path.startswith("/usr/")
        ):
            continue
        made.add(path)
        args += ["--perms", "0755", "--dir", path]
    return args


def _covered(path: str, tops: tuple[str, ...]) -> bool:
    return any(path != top and path.startswith(f"{top}/") for top in tops)


def command(box: Sandbox, view: View, script: str) -> list[str]:
    """The command line that runs one script inside: the same for everyone to see, without anything private."""
    shell = ["/bin/bash", "-eo", "pipefail", f"{SCRIPTS}/{script}"]
    if not box.as_root:
        return [box.bwrap, "--args", str(ARGS_FD), "--", *shell]
    drop = [
        box.setpriv,
        *("--reuid", str(view.uid), "--regid", str(view.gid), "--clear-groups"),
        *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
    ]
    return [box.bwrap, "--args", str(ARGS_FD), "--", *drop, "--", *shell]


def account_files(uid: int, gid: int) -> dict[str, str]:
    """The account files of a run, which its /etc links to: it knows root, and itself as `run`."""
    passwd = f"root:x:0:0:root:/root:/usr/sbin/nologin\nrun:x:{uid}:{gid}:run:{SANDBOX_HOME}:/bin/bash\n"
    return {"passwd": passwd, "group": f"root:x:0:\nrun:x:{gid}:\n"}


def copy_etc(target: str) -> None:
    """Make the folder `target` what runs see as /etc: copies of what everybody may read of it, and nothing else.

    One mount of a copy, where thirty mounts of the originals would take longer than all else. Raises OSError.
    """
    os.makedirs(target, mode=0o755)
    for name in _ETC:
        _copy_public(f"/etc/{name}", f"{target}/{name}", 0)
    for name in _ETC_NETWORK:  # something to mount on
        with open(f"{target}/{name}", "wb") as file:
            file.write(b"127.0.0.1 localhost\n::1 localhost\n" if name == "hosts" else b"")
        os.chmod(f"{target}/{name}", 0o644)
    for name in ("passwd", "group"):
        os.symlink(f"{SCRIPTS}/{name}", f"{target}/{name}")


def _copy_public(source: str, target: str, depth: int) -> None:
    try:
        info = os.lstat(source)
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISDIR(info.st_mode) and info.st_mode & 0o005 == 0o005 and depth < _ETC_DEPTH_MAX:
            os.mkdir(target, 0o755)
            os.chmod(target, 0o755)  # noqa: S103 - /etc is for everybody to read
            for name in os.listdir(source):
                _copy_public(f"{source}/{name}", f"{target}/{name}", depth + 1)
        elif stat.S_ISREG(info.st_mode) and info.st_mode & 0o004 and info.st_size <= _ETC_FILE_BYTES_MAX:
            shutil.copyfile(source, target)
            os.chmod(target, 0o644)
    except FileNotFoundError:
        return


def find(*, wanted: bool, expose: tuple[str, ...], etc: str, seccomp: bytes) -> tuple[Sandbox, str]:
    """Find the sandbox programs and try them; returns (sandbox, why there is none)."""
    if not wanted:
        return Sandbox(), "the sandbox is switched off by the setting `sandbox`"
    bwrap = shutil.which("bwrap", path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if bwrap is None:
        return Sandbox(), "bubblewrap is not installed (the command `bwrap`; Debian package bubblewrap)"
    as_root = os.geteuid() == 0
    setpriv = shutil.which("setpriv", path="/usr/bin:/bin:/usr/local/bin") or ""
    if as_root and not setpriv:
        return Sandbox(), "`setpriv` is not installed (Debian package util-linux)"
    box = Sandbox(bwrap=bwrap, setpriv=setpriv, as_root=as_root, seccomp=seccomp, expose=expose, etc=etc)
    trial = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--die-with-parent"]
    if not as_root:
        trial += ["--unshare-user", "--disable-userns"]
    trial += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    try:
        done = subprocess.run(trial, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Sandbox(), f"bubblewrap does not work here: {error}"
    if done.returncode != 0:
        return (
            Sandbox(),
            f"bubblewrap does not work here: {done.stderr.decode('utf-8', 'replace').strip()[:300]}",
        )
    return box, ""


def host_name() -> str:
    """This machine's name, without its domain."""
    return socket.gethostname().split(".")[0] or "localhost"
