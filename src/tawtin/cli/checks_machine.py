"""What a factory needs of its machine, each looked at by doing it: one function a check, each fault with its mend."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tawtin.model.findings import Finding as Check
from tawtin.model.findings import fault, ok, warning

PYTHON_MIN = (3, 11)
SYNC_MS_SLOW = 20
SYNC_ROUNDS = 20
DISK_FREE_MIB_LOW = 1024
FILES_LOW = 4096
CLOCK_WATCH_MS = 200
CLOCK_JUMP_MS = 50


def python() -> list[Check]:
    """The interpreter's version, and whether other users may run it."""
    found = f"Python {platform.python_version()} at {sys.executable}"
    if sys.version_info < PYTHON_MIN:
        return [fault("python", found, "install Python 3.11 or newer, and make the environment again")]
    real = Path(sys.executable).resolve()
    closed = [each for each in (real, *real.parents) if not each.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        mend = f"`{closed[-1]}` is closed to other users, so runs cannot use it: take /usr/bin/python3, or open it"
        return [warning("python", found, mend)]
    return [ok("python", found)]


def gpus() -> list[Check]:
    """The driver, and the GPUs that it shows through NVML."""
    driver = Path("/proc/driver/nvidia/version").exists()
    try:
        pynvml: Any = import_module("pynvml")  # its functions carry no types
    except ImportError:
        if driver:
            return [
                fault(
                    "gpus", "an NVIDIA driver, but no NVML binding", "install it: pip install 'tawtin[gpu]'"
                )
            ]
        return [ok("gpus", "no NVIDIA driver: GPUs can only be declared in factory.toml")]
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if driver:
            mend = "run `nvidia-smi`; if it fails as well, load the driver (modprobe nvidia) or mend its installation"
            return [fault("gpus", f"NVML does not start: {error}", mend)]
        return [ok("gpus", "no NVIDIA driver: GPUs can only be declared in factory.toml")]
    try:
        names: list[str] = []
        for index in range(int(pynvml.nvmlDeviceGetCount())):
            name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index))
            names.append(name.decode() if isinstance(name, bytes) else str(name))
        return [ok("gpus", f"{len(names)}: {', '.join(names)}" if names else "the driver shows no GPU")]
    except pynvml.NVMLError as error:
        return [
            fault(
                "gpus", f"a GPU does not answer: {error}", "look at `nvidia-smi` and `dmesg`; reset that GPU"
            )
        ]
    finally:
        pynvml.nvmlShutdown()


def sandbox() -> list[Check]:
    """Bubblewrap, by starting one: no rights, no network, its own processes."""
    bwrap = shutil.which("bwrap")
    lost = "without it the factory runs the work of its owner alone, and nothing keeps that apart"
    if bwrap is None:
        return [
            warning(
                "sandbox", f"bubblewrap is not installed; {lost}", "install it: apt-get install bubblewrap"
            )
        ]
    inside = (
        "--unshare-all --die-with-parent --new-session --cap-drop ALL --proc /proc --dev /dev --tmpfs /tmp"
    )
    system = [word for path in ("/usr", "/lib", "/lib64", "/bin") if Path(path).exists()
              for word in ("--ro-bind", path, path)]  # fmt: skip
    nobody = 65534 if os.geteuid() == 0 else None
    began = time.monotonic()
    done = subprocess.run(
        [bwrap, *inside.split(), *system, "--clearenv", "/bin/sh", "-c", "echo $$"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd="/",
        user=nobody,
        group=nobody,
        extra_groups=None if nobody is None else [],
    )
    took_ms = int((time.monotonic() - began) * 1000)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        mend = (
            "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000 "
            "kernel.apparmor_restrict_unprivileged_userns=0"
        )
        return [fault("sandbox", f"bubblewrap does not start: {said}", mend)]
    version = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return [
        ok(
            "sandbox",
            f"{version} started one in {took_ms} ms, its shell is process {done.stdout.strip()} in it",
        )
    ]


def namespaces() -> list[Check]:
    """User namespaces: how many the kernel gives."""
    limit = _number(Path("/proc/sys/user/max_user_namespaces"))
    clone = _number(Path("/proc/sys/kernel/unprivileged_userns_clone"))
    if not Path("/proc/self/ns/user").exists() or limit == 0:
        return [fault("user namespaces", "the kernel gives none", "sysctl user.max_user_namespaces=15000")]
    if clone == 0 and os.geteuid() != 0:
        mend = "sysctl kernel.unprivileged_userns_clone=1, or run the factory as root"
        return [fault("user namespaces", "not for ordinary users", mend)]
    return [ok("user namespaces", f"up to {limit}" if limit else "there")]


def cgroups() -> list[Check]:
    """Which limits the kernel can hold a run to."""
    root = Path("/sys/fs/cgroup")
    weaker = "limits fall back to rlimits, which hold each process and not the run"
    if (root / "cgroup.controllers").exists():
        have = (root / "cgroup.controllers").read_text().split()
        lost = [each for each in ("memory", "cpu", "pids") if each not in have]
        if lost:
            mend = f"delegate them to this service (systemd: `Delegate=yes`); else {weaker}"
            return [warning("cgroups", f"v2 without {', '.join(lost)}", mend)]
        if not os.access(root / "cgroup.procs", os.W_OK) and not _own_group_writable():
            mend = f"run the factory under systemd with `Delegate=yes`, or as root; else {weaker}"
            return [warning("cgroups", "v2, but not writable for this user", mend)]
        return [ok("cgroups", f"v2 with {', '.join(have)}")]
    have = sorted(each.name for each in root.iterdir() if each.is_dir()) if root.exists() else []
    held = [each for each in ("memory", "cpu", "pids") if each in have and os.access(root / each, os.W_OK)]
    if len(held) == 3:
        return [ok("cgroups", "v1 with memory, cpu, pids")]
    return [
        warning(
            "cgroups",
            "not usable for this user",
            f"run as root, or with cgroup v2; else {weaker}",
        )
    ]


def _own_group_writable() -> bool:
    line = next(
        (each for each in Path("/proc/self/cgroup").read_text().splitlines() if each.startswith("0::")), ""
    )
    path = Path("/sys/fs/cgroup") / line[3:].lstrip("/")
    return bool(line) and os.access(path / "cgroup.procs", os.W_OK)


def disk(folder: Path) -> list[Check]:
    """Free space below the data folder, and how long a durable write takes there."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free_mib = shutil.disk_usage(there).free >> 20
    found: list[Check] = []
    if free_mib < DISK_FREE_MIB_LOW:
        mend = "free some, or move the data folder (`data` in factory.toml): a full disk refuses new work"
        found.append(fault("disk space", f"{free_mib} MiB free at {there}", mend))
    else:
        found.append(ok("disk space", f"{free_mib / 1024:.1f} GiB free at {there}"))
    if not os.access(there, os.W_OK):
        return [
            *found,
            fault("disk", f"{there} is not writable", f"chown it to user {os.geteuid()}, or take another"),
        ]
    taken = sorted(_sync_ms(there))
    middle, worst = taken[len(taken) // 2], taken[-1]
    text = f"a durable write takes {middle:.2f} ms, at worst {worst:.2f} ms of {len(taken)}"
    if middle > SYNC_MS_SLOW:
        mend = "put the data folder on a local SSD: every acknowledged submission waits for such a write"
        return [*found, warning("disk speed", text, mend)]
    return [*found, ok("disk speed", text)]


def _sync_ms(folder: Path) -> list[float]:
    path = folder / f".tawtin-doctor-{os.getpid()}"
    taken: list[float] = []
    with path.open("wb", buffering=0) as probe:
        try:
            for _ in range(SYNC_ROUNDS):
                began = time.perf_counter()
                probe.write(b"\0" * 4096)
                os.fdatasync(probe.fileno())
                taken.append((time.perf_counter() - began) * 1000)
        finally:
            path.unlink()
    return taken


def clock() -> list[Check]:
    """Whether the clock steps while looked at, is past this program's date, and is kept by NTP."""
    wall, steady = time.time_ns(), time.monotonic_ns()
    time.sleep(CLOCK_WATCH_MS / 1000)
    drift_ms = abs((time.time_ns() - wall) - (time.monotonic_ns() - steady)) / 1e6
    if drift_ms > CLOCK_JUMP_MS:
        mend = "let one NTP service alone set the clock (chrony or systemd-timesyncd), slewing instead of stepping"
        return [warning("clock", f"it stepped by {drift_ms:.0f} ms in {CLOCK_WATCH_MS} ms", mend)]
    code_s = Path(__file__).stat().st_mtime
    if time.time() < code_s - 86_400:
        mend = "set it: `date -s ...`, or start an NTP service"
        return [fault("clock", "it is more than a day behind the files of this program", mend)]
    synced = _ntp_synchronised()
    if synced is False:
        mend = "start an NTP service: apt-get install chrony; receipts between factories compare clocks"
        return [warning("clock", "steady, but the kernel says that nothing synchronises it", mend)]
    return [
        ok(
            "clock",
            "steady, and synchronised" if synced else "steady; the kernel does not say if it is synchronised",
        )
    ]


def _ntp_synchronised() -> bool | None:
    import ctypes

    class Timex(ctypes.Structure):
        _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_char * 512)]

    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(Timex())))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != 5  # TIME_ERROR: the clock is not synchronised


def files() -> list[Check]:
    """How many files the process may hold open."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in {-1, resource.RLIM_INFINITY} and hard < FILES_LOW:
        return [
            warning(
                "open files", f"{soft}, at most {hard}", f"raise it: ulimit -n {FILES_LOW} (LimitNOFILE=)"
            )
        ]
    return [ok("open files", f"{soft}, up to {hard}")]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


CHECKS: tuple[Callable[[], list[Check]], ...] = (python, gpus, sandbox, namespaces, cgroups, clock, files)
"""Checks that need nothing but the machine."""
