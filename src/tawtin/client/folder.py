"""Between a folder on this machine and an artifact.

What is not sent: links, sockets, pipes and devices; folders named `.git`; empty folders, as an artifact has files
alone; and what the file `.tawtinignore` at the top names. Its lines are patterns: `*.log` matches a name anywhere,
`data/raw` or `/build` a path from the top, a `/` at the end folders alone; `#` begins a comment. `.gitignore` is not
read: what is kept out of a repository (a virtual environment, a data set) is often just what a run needs.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from tawtin.client.errors import ClientError
from tawtin.model.artifact import FileEntry, Manifest

IGNORE: Final = ".tawtinignore"
FILES_MAX: Final = 100_000
_READ_BYTES: Final = 1 << 20


class Scanned:
    """A folder as it was found: its manifest, and for each digest a file that has these bytes."""

    def __init__(self, files: list[FileEntry], sources: dict[str, Path]) -> None:
        """Sort the files by path."""
        self.manifest = Manifest(files=tuple(sorted(files, key=lambda entry: entry.path)))
        self.sources = sources


def scan(root: str | os.PathLike[str]) -> Scanned:
    """Read and hash a folder, or one file. Raises ClientError that names what cannot be sent."""
    top = Path(root)
    if top.is_file():
        entry = _entry(top, top.name)
        return Scanned([entry], {entry.digest: top})
    if not top.is_dir():
        msg = f"`{top}` is neither a file nor a folder"
        raise ClientError(msg)
    patterns = _patterns(top / IGNORE)
    files: list[FileEntry] = []
    sources: dict[str, Path] = {}
    for path, relative in _walk(top, "", patterns):
        if len(files) >= FILES_MAX:
            msg = f"`{top}` has more than {FILES_MAX} files: name in `{IGNORE}` what is not needed"
            raise ClientError(msg)
        entry = _entry(path, relative)
        files.append(entry)
        sources.setdefault(entry.digest, path)
    return Scanned(files, sources)


def _walk(folder: Path, prefix: str, patterns: list[str]) -> Iterator[tuple[Path, str]]:
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        relative = prefix + item.name
        is_folder = item.is_dir(follow_symlinks=False)
        if item.name == ".git" or any(_matches(pattern, relative, is_folder) for pattern in patterns):
            continue
        if is_folder:
            yield from _walk(Path(item.path), relative + "/", patterns)
        elif item.is_file(follow_symlinks=False):
            yield Path(item.path), relative


def _matches(pattern: str, relative: str, is_folder: bool) -> bool:  # noqa: FBT001 - of what is looked at
    if pattern.endswith("/") and not is_folder:
        return False
    plain = pattern.strip("/")
    if "/" in pattern.rstrip("/"):
        return fnmatchcase(relative, plain)
    return fnmatchcase(relative.rpartition("/")[2], plain)


def _patterns(file: Path) -> list[str]:
    if not file.is_file():
        return []
    found: list[str] = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        text = line.strip()
        if text.startswith("!"):
            msg = f"{file}:{number}: `{text}`: exceptions have no meaning here; name what is to be left out"
            raise ClientError(msg)
        if text and not text.startswith("#"):
            found.append(text)
    return found


def _entry(path: Path, relative: str) -> FileEntry:
    try:
        relative.encode()
    except UnicodeEncodeError:
        msg = f"the name `{os.fsencode(relative)!r}` is not UTF-8: rename the file"
        raise ClientError(msg) from None
    hashed, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as source:
            while piece := source.read(_READ_BYTES):
                hashed.update(piece)
                size += len(piece)
            executable = bool(os.fstat(source.fileno()).st_mode & stat.S_IXUSR)
    except OSError as error:
        msg = f"cannot read `{path}` ({error.strerror}): mend that, or name it in `{IGNORE}`"
        raise ClientError(msg) from error
    digest = f"sha256:{hashed.hexdigest()}"
    return FileEntry(path=relative, digest=digest, size_bytes=size, executable=executable)


def check_paths(manifest: Manifest) -> None:
    """Raise ClientError if a path would lead out of the folder that it is laid out in."""
    for entry in manifest.files:
        parts = entry.path.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\0" in entry.path:
            msg = f"the artifact holds the path `{entry.path}`, which leads elsewhere: it is not laid out"
            raise ClientError(msg)


class Incoming:
    """One file on its way into a folder: it gets its name when its bytes are known to be right."""

    def __init__(self, folder: str | os.PathLike[str], entry: FileEntry) -> None:
        """Make the folders around it. Raises ClientError if a link stands in their place."""
        self._entry = entry
        self._target = Path(folder)
        self._target.mkdir(parents=True, exist_ok=True)
        *parents, name = entry.path.split("/")
        for part in parts_of(parents):
            step = self._target / part
            if step.is_symlink():
                msg = f"`{step}` is a link: nothing is laid out through it"
                raise ClientError(msg)
            step.mkdir(exist_ok=True)
        self._target = self._target.joinpath(*parents, name)
        self._part = self._target.with_name(f".{name[:200]}.part")
        self._hash = hashlib.sha256()

    def begin(self) -> None:
        """Start, or start again."""
        self._hash = hashlib.sha256()
        self._part.unlink(missing_ok=True)
        self._part.touch(mode=0o644)

    def write(self, data: bytes) -> None:
        """Take more bytes."""
        self._hash.update(data)
        with self._part.open("ab") as file:
            file.write(data)

    def keep(self) -> None:
        """Check the digest and give the file its name. Raises ClientError."""
        digest = f"sha256:{self._hash.hexdigest()}"
        if digest != self._entry.digest:
            msg = f"`{self._entry.path}` arrived as {digest}, not as {self._entry.digest}: fetch it again"
            raise ClientError(msg)
        self._part.chmod(0o755 if self._entry.executable else 0o644)
        self._part.replace(self._target)

    def discard(self) -> None:
        """Remove what was not kept."""
        self._part.unlink(missing_ok=True)


def parts_of(parents: list[str]) -> list[str]:
    """The paths of nested folders, outermost first: `a`, `a/b`, `a/b/c`."""
    return ["/".join(parents[:count]) for count in range(1, len(parents) + 1)]
