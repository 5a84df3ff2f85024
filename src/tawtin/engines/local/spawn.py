"""Start the sandbox of one run: which descriptors go along, and what its shell does first.

The environment reaches the run's shell through a descriptor, because a command line can be read by others and an
environment would be seen by programs that still have rights to lose (a preloaded library of the tenant's in them).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import resource
import signal
from typing import Final

from tawtin.engines.local.orders import Limits, Plan
from tawtin.engines.shared import durable
from tawtin.engines.shared.shell import exports

ARGS_FD: Final = 10
ENV_FD: Final = 11
STATUS_FD: Final = 12
SECCOMP_FD: Final = 13
SCRIPT_FD: Final = 20
"""Of the first script; the others follow."""
_FIRST_OWN_FD: Final = 64
"""The supervisor's own descriptors are beyond those that are passed on."""
_SET_PIPE_SIZE: Final = 1031
_OOM_SCORE: Final = 1000
"""Where memory is short in the run's group, its own processes go before its supervisor."""
_DEFAULT_SIGNALS: Final = (
    signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
)  # fmt: skip


class SpawnError(Exception):
    """The sandbox could not be started; the message says why."""


def mark(folder: str) -> str:
    """The variable, as it stands in an environment, that strays of the run in this folder carry, and no others.

    Not the run's name: another factory on the machine may have a run that is called the same.
    """
    return f"TAWTIN_MARK={hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:32]}"


def shell_env(plan: Plan) -> dict[str, str]:
    """All that the first programs see: where the shell finds the rest, and the mark that strays are found by."""
    name, _, value = mark(plan["folder"]).partition("=")
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "BASH_ENV": f"/proc/self/fd/{ENV_FD}",
        "TAWTIN_RUN": plan["run"],
        name: value,
    }


def first_script(plan: Plan) -> bytes:
    """What the run's shell reads before anything else: limits, environment, working folder.

    It waits for its children when it is asked to end: a shell that dies at SIGTERM would take the sandbox, and what
    the program is saving, with it.
    """
    limits = plan["limits"]
    lines = [
        "unset BASH_ENV",
        "trap 'trap - TERM; wait; exit 143' TERM",
        f"echo {_OOM_SCORE} >/proc/self/oom_score_adj || :",
    ]
    lines.append("ulimit -c 0")
    if limits["open_files"]:
        lines.append(f"ulimit -n {limits['open_files']} 2>/dev/null || :")
    if limits["disk_bytes"]:
        lines.append(f"ulimit -f {-(-limits['disk_bytes'] // 1024)} 2>/dev/null || :")
    if limits["processes"] and not plan["cgroup"]:
        lines.append(f"ulimit -u {limits['processes']} 2>/dev/null || :")
    lines += [exports(plan["env"]), f"exec {ENV_FD}<&-"]
    lines += [
        'cd -- "$TAWTIN_WORKDIR"',
        "",
    ]  # by the tenant's own right: the sandbox program has none left to enter it
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
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_FD)
    os.close(fd)
    return moved


def pipe(size_bytes: int = 0) -> tuple[int, int]:
    """Return (read end, write end), beyond the descriptors that are passed on; with a larger buffer if there may be."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    if size_bytes:
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, _SET_PIPE_SIZE, size_bytes)
    return _high(reading), _high(writing)


def spawn(plan: Plan, command: list[str], log: int) -> tuple[int, int]:
    """Start `command` for the plan, its output going to descriptor `log`.

    Returns (pid of what was started, descriptor of its status reports). Raises SpawnError.
    """
    status, status_writing = pipe()
    passed = {ENV_FD: memory_file(first_script(plan)), STATUS_FD: status_writing}
    if plan["sandbox_args"]:
        args = "\0".join((*plan["sandbox_args"], ""))
        passed[ARGS_FD] = memory_file(args.encode("utf-8", "surrogateescape"))
    for number, text in enumerate(plan["scripts"].values(), SCRIPT_FD):
        passed[number] = memory_file(text.encode("utf-8", "surrogateescape"))
    if plan["seccomp"]:
        passed[SECCOMP_FD] = memory_file(bytes.fromhex(plan["seccomp"]))
    try:
        if plan["sandboxed"]:
            return _spawn_sandbox(plan, command, passed, log), status
        return _fork_bare(plan, command, passed, log), status
    except OSError as error:
        os.close(status)
        raise SpawnError(f"`{command[0]}`: {error.strerror}") from error
    finally:
        for fd in passed.values():
            os.close(fd)


def _spawn_sandbox(plan: Plan, command: list[str], passed: dict[int, int], log: int) -> int:
    """The quick way, without a copy of our memory: the sandbox program itself sees to its end with ours."""
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    ]
    actions += [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in passed.items()]
    env = shell_env(plan)
    return os.posix_spawn(
        command[0], command, env, file_actions=actions, setsigdef=_DEFAULT_SIGNALS, setsigmask=()
    )


def _fork_bare(plan: Plan, command: list[str], passed: dict[int, int], log: int) -> int:
    """Without a sandbox program, what it does is done here: another user, no new rights, death with the supervisor."""
    failed, failed_writing = pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            if not durable.die_with_parent(parent):
                os._exit(125)
            null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            for fd, number in (
                (null, 0),
                (log, 1),
                (log, 2),
                *((fd, number) for number, fd in passed.items()),
            ):
                os.dup2(fd, number)
            for number in _DEFAULT_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            _limit(plan["limits"], in_group=bool(plan["cgroup"]))
            os.setsid()
            _drop(plan["user"])
            durable.die_with_parent(parent)  # a change of user clears it
            os.execve(command[0], command, shell_env(plan))  # noqa: S606 - no shell in between is the point
        except BaseException as error:  # noqa: BLE001 - nothing may escape into the supervisor's copy
            os.write(failed_writing, str(error).encode())
        os._exit(126)
    os.close(failed_writing)
    reason = os.read(failed, 4096)
    os.close(failed)
    if reason:
        os.waitpid(pid, 0)
        raise SpawnError(reason.decode("utf-8", "replace"))
    return pid


def _limit(limits: Limits, *, in_group: bool) -> None:
    for kind, value in (
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"]),
        (resource.RLIMIT_NPROC, 0 if in_group else limits["processes"]),
    ):
        if value:
            hard = resource.getrlimit(kind)[1]
            lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (lower, lower))


def _drop(user: list[int]) -> None:
    durable.forbid_new_privileges()
    if user:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])
