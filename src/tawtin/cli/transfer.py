"""Folders on their way to the factory and back: hashed here, only what is missing there is sent, with progress."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import exits, output
from tawtin.model.artifact import FileEntry, Manifest

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.artifact import Artifact
    from tawtin.model.views import ArtifactView

FILES_MAX = 100_000
READ_BYTES = 1 << 20
SKIPPED_NAMES = frozenset({".git", "__pycache__", ".venv", "node_modules"})


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file or folder to keep as an artifact."""

    path: Path
    name: str = ""
    data_class: str = "public"
    origin: str = ""


def upload(client: Client, what: Upload) -> Artifact:
    """Upload what is missing there, and keep the manifest. Raises Fault for what cannot be read."""
    line = output.StatusLine()
    entries, places, skipped = _walk(what.path, line)
    if skipped:
        output.note(f"-- left out of {what.path}: {', '.join(skipped[:5])}{' ...' if len(skipped) > 5 else ''}")
    missing = set(client.missing_blobs(tuple(dict.fromkeys(entry.digest for entry in entries))))
    total = sum(entry.size_bytes for entry in {entry.digest: entry for entry in entries}.values()
                if entry.digest in missing)  # fmt: skip
    sent = 0
    for entry in entries:
        if entry.digest not in missing:
            continue
        missing.discard(entry.digest)
        line.show(f"{what.path}: {output.size(sent)} of {output.size(total)}, {entry.path}")
        with places[entry.path].open("rb") as source:
            client.put_blob(entry.digest, source, entry.size_bytes)
        sent += entry.size_bytes
    line.clear()
    return client.put_artifact(
        Manifest(files=tuple(sorted(entries, key=lambda entry: entry.path))),
        name=what.name,
        data_class=what.data_class,
        origin=what.origin,
    )


def _walk(root: Path, line: output.StatusLine) -> tuple[list[FileEntry], dict[str, Path], list[str]]:
    """Entries, where each file is, and what was left out."""
    if root.is_symlink():
        root = root.resolve()
    if root.is_file():
        return [_entry(root, root.name)], {root.name: root}, []
    if not root.is_dir():
        raise exits.Fault(f"there is no file or folder `{root}`", hint="paths in a spec are relative to where you are")
    entries: list[FileEntry] = []
    places: dict[str, Path] = {}
    skipped: list[str] = []
    for folder, names, files in os.walk(root):
        here = Path(folder)
        left = [name for name in names if name in SKIPPED_NAMES or (here / name).is_symlink()]
        skipped += [f"{(here / name).relative_to(root)}/" for name in left]
        names[:] = sorted(set(names) - set(left))
        for name in sorted(files):
            path = here / name
            relative = str(path.relative_to(root))
            if not stat.S_ISREG(path.lstat().st_mode):
                skipped.append(relative)
                continue
            line.show(f"{root}: reading {relative}")
            entries.append(_entry(path, relative))
            places[relative] = path
            if len(entries) > FILES_MAX:
                raise exits.Fault(f"`{root}` has more than {FILES_MAX} files", hint="pack them into one file")
    line.clear()
    return entries, places, skipped


def _entry(path: Path, relative: str) -> FileEntry:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            status = os.fstat(file.fileno())
        relative.encode()
    except OSError as error:
        raise exits.Fault(f"cannot read `{path}`: {(error.strerror or '').lower()}") from None
    except UnicodeEncodeError:
        raise exits.Fault(f"the name `{ascii(relative)}` is no UTF-8 text", hint="rename the file") from None
    return FileEntry(
        path=relative,
        digest=f"sha256:{digest}",
        size_bytes=status.st_size,
        executable=bool(status.st_mode & 0o100),
    )


def download(client: Client, view: ArtifactView, folder: Path) -> int:
    """Lay the files out in `folder`, each checked before it gets its name; return their bytes."""
    line = output.StatusLine()
    total = 0
    for entry in view.manifest.files:
        path = _inside(folder, entry.path)
        line.show(f"{entry.path} ({output.size(entry.size_bytes)})")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            total += _fetch(client, view.artifact.id, entry, temporary)
            temporary.chmod(0o755 if entry.executable else 0o644)
            temporary.replace(path)
        except OSError as error:
            raise exits.Fault(f"cannot write `{path}`: {(error.strerror or '').lower()}") from None
        finally:
            temporary.unlink(missing_ok=True)
    line.clear()
    return total


def _fetch(client: Client, artifact: str, entry: FileEntry, path: Path) -> int:
    found = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        for piece in client.read_file(artifact, entry.path):
            found.update(piece)
            size += len(piece)
            file.write(piece)
    if f"sha256:{found.hexdigest()}" != entry.digest:
        raise exits.Fault(
            f"what came for `{entry.path}` does not hash to its name", exits.FACTORY, hint="fetch it again"
        )
    return size


def _inside(folder: Path, relative: str) -> Path:
    """The path of a file in `folder`; a manifest cannot lead out of it, not even through a link that is there."""
    parts = relative.split("/")
    if relative.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise exits.Fault(f"the artifact holds the path `{relative}`, which leads out of the folder", exits.FACTORY)
    path = folder
    for part in parts[:-1]:
        path = path / part
        if path.is_symlink():
            raise exits.Fault(f"`{path}` is a link, and files are not written through links", hint="remove it")
    return path / parts[-1]
