"""Places inside a tenant's folders that something is mounted on: made by us, level by level, following no link."""

from __future__ import annotations

import contextlib
import os


class MountpointError(Exception):
    """A place to mount on cannot be made, because the run's own files are in the way; the message names it."""


def make(root: str, relative: str, *, is_file: bool, owner: list[int]) -> None:
    """Make `relative` below the folder `root` a folder, or an empty file, unless it is there already as such.

    `owner` ([uid, gid], or empty) becomes the owner of what is made. Raises MountpointError.
    """
    parts = relative.split("/")
    opened: list[int] = []
    try:
        opened.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            if last and is_file:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                opened.append(os.open(part, flags, 0o644, dir_fd=opened[-1]))
            else:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=opened[-1])
                    if owner:
                        os.chown(part, owner[0], owner[1], dir_fd=opened[-1], follow_symlinks=False)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                opened.append(os.open(part, flags, dir_fd=opened[-1]))
    except OSError as error:
        kind = "file" if is_file else "folder"
        raise MountpointError(
            f"`{relative}` is to be mounted on, but is no {kind} of its own ({error.strerror})"
        ) from None
    finally:
        for fd in opened:
            os.close(fd)
