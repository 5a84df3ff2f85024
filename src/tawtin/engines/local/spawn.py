"""Start the sandbox of one run: what happens between fork and exec, and which descriptors go along.

The environment reaches the run's shell through a descriptor, because a command line can be read by others and an
environment would be seen by programs that still have rights to lose (a preloaded library of the tenant's in them).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shlex
import signal
from typing import Final

from tawtin.engines.local import durable
from tawtin.engines.local.cgroups import Group
from tawtin.engines.local.orders import Limits, Plan

ARGS_FD: Final = 10
ENV_FD: Final = 11
STATUS_FD: Final = 12
SECCOMP_FD: Final = 13
_PASSED: Final = (ARGS_FD, ENV_FD, STATUS_FD, SECCOMP_FD)
_SET_PIPE_SIZE: Final = 1031
_OOM_SCORE: Final = b"500"
SHELL_ENV: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "BASH_ENV": f"/proc/self/fd/{ENV_FD}"}
"""All that the first programs see: where the shell finds the rest."""


class SpawnError(Exception):
    """The sandbox could not be started; the message says why."""


def env_script(env: dict[str, str]) -> bytes:
    """What the shell reads first: the environment, and to wait for its children when it is asked to end.

    A shell that dies at SIGTERM would take the sandbox, and what the program is saving, with it.
    """
    lines = ["unset BASH_ENV", "trap 'trap - TERM; wait; exit 143' TERM"]
    lines += [f"export {name}={shlex.quote(value)} || :" for name, value in sorted(env.items())]
    lines += [f"exec {ENV_FD}<&-"]
    if "TAWTIN_WORKDIR" in env:  # by the tenant's own right: the sandbox program has none left to enter it
        lines += ['cd -- "$TAWTIN_WORKDIR"']
    lines += [""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def memory_file(body: bytes) -> int:
    """Return a descriptor, beyond those that are passed on, of a file in memory with these bytes, at its start."""
    fd = _high(os.memfd_create("tawtin", os.MFD_CLOEXEC))
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _high(fd: int) -> int:
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64)
    os.close(fd)
    return moved


def pipe(size_bytes: int = 0) -> tuple[int, int]:
    """Return (read end, write end), beyond the descriptors that are passed on; with a larger buffer if there may be."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    if size_bytes:
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, _SET_PIPE_SIZE, size_bytes)
    return _high(reading), _high(writing)


def spawn(plan: Plan, command: list[str], group: Group, log: int) -> tuple[int, int]:
    """Start `command` for the plan, its output going to descriptor `log`.

    Returns (pid of what was started, descriptor of its status reports). Raises SpawnError.
    """
    status, status_writing = pipe()
    failed, failed_writing = pipe()
    passed = {ENV_FD: memory_file(env_script(plan["env"])), STATUS_FD: status_writing}
    if plan["sandbox_args"]:
        args = b"".join(arg.encode("utf-8", "surrogateescape") + b"\0" for arg in plan["sandbox_args"])
        passed[ARGS_FD] = memory_file(args)
    if plan["seccomp"]:
        passed[SECCOMP_FD] = memory_file(bytes.fromhex(plan["seccomp"]))
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        step = "process"
        try:
            if not durable.die_with_parent(parent):
                os._exit(125)
            step = "control group"
            group.join()
            step = "limits"
            _limit(plan["limits"], in_group=bool(group))
            step = "descriptors"
            _connect(passed, log)
            step = "user"
            if not plan["sandboxed"]:
                os.setsid()
                _drop(plan["user"])
                durable.die_with_parent(parent)  # a change of user clears it
                os.chdir(os.path.join(plan["folder"], "files", "work"))
            step = f"program `{command[0]}`"
            os.execve(command[0], command, SHELL_ENV)  # noqa: S606 - no shell in between is the point
        except BaseException as error:  # noqa: BLE001 - nothing may escape into the supervisor's copy
            os.write(failed_writing, f"{step}: {error}".encode())
        os._exit(126)
    for fd in (status_writing, failed_writing, *passed.values()):
        with contextlib.suppress(OSError):
            os.close(fd)
    reason = os.read(failed, 4096)
    os.close(failed)
    if reason:
        os.waitpid(pid, 0)
        os.close(status)
        raise SpawnError(reason.decode("utf-8", "replace"))
    return pid, status


def _limit(limits: Limits, *, in_group: bool) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, value in (
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"]),
        (resource.RLIMIT_NPROC, 0 if in_group else limits["processes"]),
    ):
        hard = resource.getrlimit(kind)[1]
        if value:
            lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (lower, lower))
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(fd, _OOM_SCORE)
        os.close(fd)


def _connect(passed: dict[int, int], log: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for number, fd in passed.items():
        os.dup2(fd, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in passed:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGCHLD,
        signal.SIGUSR1,
        signal.SIGTERM,
        signal.SIGINT,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _drop(user: list[int]) -> None:
    durable.forbid_new_privileges()
    if user:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])
