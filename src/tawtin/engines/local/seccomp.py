"""A small system call filter for sandboxes, compiled by hand: what no workload needs and what has broken sandboxes.

Everything else stays allowed; the sandbox's walls are its namespaces, this closes doors behind them. Refused calls
fail with EPERM (`clone3` with ENOSYS, so that the C library falls back to `clone`, whose flags a filter can see).
"""

from __future__ import annotations

import errno
import platform
import struct
from typing import Final

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQ: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GE: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL: Final = 0x80000000
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24
_CLONE_NEWUSER: Final = 0x10000000
_TIOCSTI: Final = 0x5412
_X32: Final = 0x40000000

_ARCHES: Final = {
    "x86_64": (
        0xC000003E,
        {"clone": 56, "clone3": 435, "unshare": 272, "ioctl": 16},
        {
            "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "swapon": 167, "swapoff": 168,
            "reboot": 169, "init_module": 175, "delete_module": 176, "finit_module": 313, "kexec_load": 246,
            "kexec_file_load": 320,
            "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
            "setns": 308, "open_by_handle_at": 304, "acct": 163, "syslog": 103, "quotactl": 179, "move_mount": 429,
            "open_tree": 428, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
            "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {"clone": 220, "clone3": 435, "unshare": 97, "ioctl": 29},
        {
            "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "swapon": 224, "swapoff": 225, "reboot": 142,
            "init_module": 105, "delete_module": 106, "finit_module": 273, "kexec_load": 104, "kexec_file_load": 294,
            "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
            "setns": 268, "open_by_handle_at": 265, "acct": 89, "syslog": 116, "quotactl": 60, "move_mount": 429,
            "open_tree": 428, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
            "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        },
    ),
}  # fmt: skip
"""Machine -> (audit number, calls judged by an argument, calls refused). Numbers from the kernel's tables."""


def compile_filter(machine: str = "") -> bytes:
    """The filter as the kernel takes it (8 bytes an instruction); empty for a machine that is not known here."""
    known = _ARCHES.get(machine or platform.machine())
    if known is None:
        return b""
    arch, judged, refused = known
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQ, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
    ]
    if arch == _ARCHES["x86_64"][0]:
        code += [(_JUMP_GE, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    code += [(_JUMP_EQ, 0, 1, judged["clone3"]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for number in sorted(refused.values()):
        code += [(_JUMP_EQ, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    for name in ("clone", "unshare"):
        code += [
            (_JUMP_EQ, 0, 4, judged[name]),
            (_LOAD, 0, 0, _ARG0),
            (_JUMP_SET, 0, 1, _CLONE_NEWUSER),
            (_RETURN, 0, 0, _ERRNO | errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    code += [
        (_JUMP_EQ, 0, 3, judged["ioctl"]),
        (_LOAD, 0, 0, _ARG1),
        (_JUMP_EQ, 0, 1, _TIOCSTI),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in code)
