"""Walks folders that somebody else may change at any moment, without ever leaving them.

Every step is an `openat` relative to a folder that is open already, with O_NOFOLLOW: a link, or a folder that
is swapped for one between two looks, is refused by the kernel and never followed. Nothing but regular files
is opened for reading, and what was opened is what is read, whatever its name points to afterwards.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, Final

import msgspec

from tawtin.ports import ArtifactError

PATH_BYTES_MAX: Final = 4096
DEPTH_MAX: Final = 64
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK, opening a pipe that took a file's name would wait for a writer for ever."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a walk came across: a regular file, open for reading, or something else, without `file`."""

    path: str
    """Relative to where the walk began, with `/`."""
    file: int | None
    """A descriptor that the walk closes when it goes on."""
    size_bytes: int = 0
    executable: bool = False


def parts_of(relative: str) -> list[str]:
    """The parts of a relative path. Raises ArtifactError unless all of them are plain names."""
    parts = relative.split("/")
    if len(relative.encode(errors="surrogateescape")) > PATH_BYTES_MAX:
        raise ArtifactError(f"the path `{relative[:60]}...` is longer than {PATH_BYTES_MAX} bytes")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ArtifactError(
            f"`{relative}` is no relative path of plain names; leave out leading `/`, `.`, `..` and doubled `/`"
        )
    if len(parts) > DEPTH_MAX:
        raise ArtifactError(f"`{relative[:60]}...` is nested more than {DEPTH_MAX} folders deep")
    return parts


@contextmanager
def opened_folder(path: str) -> Generator[int]:
    """A descriptor of the folder at `path`, which the caller vouches for. Raises ArtifactError."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArtifactError(f"the folder `{path}` cannot be opened ({error.strerror})") from error
    try:
        yield folder
    finally:
        os.close(folder)


def walk(root: int, relative: str, entries_max: int) -> Iterator[Found]:
    """Go through the file or folder `relative` below the open folder `root`, names sorted within each folder.

    A lone file is found under its own name. `.` is the root itself. More than `entries_max` names, folders
    included, are refused. Raises ArtifactError if it is absent or is reached through a link.
    """
    if relative in {"", "."}:
        yield from _Walk(entries_max).folder(root, "", 0)
        return
    *above, name = parts_of(relative.rstrip("/"))
    held: list[int] = []
    try:
        folder = root
        for part in above:
            folder = _open_part(folder, part, relative)
            held.append(folder)
        try:
            kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except OSError as error:
            raise _refusal(relative, error) from error
        if stat.S_ISDIR(kind):
            held.append(_open_part(folder, name, relative))
            yield from _Walk(entries_max).folder(held[-1], "", 0)
            return
        with _found(folder, name, _text(name)) as found:
            if found.file is None:
                raise ArtifactError(
                    f"`{relative}` is neither a file nor a folder, and links are not followed"
                )
            yield found
    finally:
        for folder in held:
            os.close(folder)


class _Walk:
    """One walk, and how many more names it may see."""

    def __init__(self, entries_max: int) -> None:
        self._max = entries_max
        self._left = entries_max

    def folder(self, folder: int, prefix: str, depth: int) -> Iterator[Found]:
        """All that is in an open folder and below."""
        if depth > DEPTH_MAX:
            raise ArtifactError(f"`{prefix[:60]}...` is nested more than {DEPTH_MAX} folders deep")
        for name in self._names(folder, prefix):
            path = _text(f"{prefix}{name}")
            if len(path.encode()) > PATH_BYTES_MAX:
                raise ArtifactError(f"the path `{path[:60]}...` is longer than {PATH_BYTES_MAX} bytes")
            try:
                below = os.open(name, _FOLDER, dir_fd=folder)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue  # removed since the folder was listed
                if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                    raise _refusal(path, error) from error
                with _found(folder, name, path) as found:
                    yield found
                continue
            try:
                yield from self.folder(below, f"{path}/", depth + 1)
            finally:
                os.close(below)

    def _names(self, folder: int, prefix: str) -> list[str]:
        """Names in a folder, sorted. Raises ArtifactError, before they fill the memory, if they are too many."""
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, self._left + 1)]
        except OSError as error:
            raise _refusal(prefix or ".", error) from error
        self._left -= len(names)
        if self._left < 0:
            raise ArtifactError(
                f"`{prefix or '.'}` brings it to more than {self._max} files and folders; pack some into one"
            )
        return sorted(names)


@contextmanager
def _found(folder: int, name: str, path: str) -> Generator[Found]:
    """Open one name as a regular file, or tell that it is none."""
    try:
        looks = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(looks.st_mode):  # not even opened: opening a device may have effects
            yield Found(path=path, file=None)
            return
        file = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:  # swapped meanwhile
            yield Found(path=path, file=None)
            return
        raise _refusal(path, error) from error
    try:
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode):
            executable = bool(status.st_mode & stat.S_IXUSR)
            yield Found(path=path, file=file, size_bytes=status.st_size, executable=executable)
        else:
            yield Found(path=path, file=None)
    finally:
        os.close(file)


def _open_part(folder: int, part: str, relative: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise _refusal(relative, error) from error


def make_file(root: int, path: str, *, executable: bool, owner: tuple[int, int] | None) -> IO[bytes]:
    """Make the file `path` below the open folder `root`, and the folders it needs; replace a file of that name.

    Folders are made 0755, files 0644 or 0755. Raises ArtifactError if a link or a file stands where a folder
    should be.
    """
    *above, name = parts_of(path)
    folder = os.dup(root)
    try:
        for part in above:
            made = False
            try:
                os.mkdir(part, 0o755, dir_fd=folder)
                made = True
            except FileExistsError:
                pass
            below = _open_part(folder, part, path)
            os.close(folder)
            folder = below
            if made:
                os.fchmod(folder, 0o755)
                _give(folder, owner)
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _refusal(path, error) from error
        mode = 0o755 if executable else 0o644
        file = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder
        )
    finally:
        os.close(folder)
    os.fchmod(file, mode)
    _give(file, owner)
    return os.fdopen(file, "wb", buffering=0)


def _give(file: int, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.fchown(file, *owner)


def _text(shown: str) -> str:
    """The path as text; a manifest is JSON, so names are UTF-8."""
    try:
        shown.encode()
    except UnicodeEncodeError:
        plain = shown.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise ArtifactError(f"the name `{plain}` is not UTF-8; rename it") from None
    return shown


def _refusal(path: str, error: OSError) -> ArtifactError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return ArtifactError(f"`{path}` leads through something that is no folder; links are not followed")
    if error.errno == errno.ENOENT:
        return ArtifactError(f"`{path}` does not exist")
    return ArtifactError(f"`{path}` cannot be read ({error.strerror})")
