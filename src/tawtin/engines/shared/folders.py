"""The folders of the engine: where a run is prepared, where it lives, where its log waits to be forgotten.

<root>/prepared/<anything>   not started; deleted when the engine opens
<root>/runs/<run id>         started, or stopped before it could start: its presence is the start token
<root>/done/<run id>         its outcome is recorded elsewhere; the log stays for the retention time
<root>/trash
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time

import msgspec

from tawtin.engines.shared import durable, places
from tawtin.model.base import Record
from tawtin.model.workload import SANDBOX_HOME, SANDBOX_WORK, Kept, Output
from tawtin.ports import ArtifactError, Artifacts, BlobError, RunOrder

_PARTS = ("prepared", "runs", "done", "trash")


class PlanError(Exception):
    """The order cannot be carried out here; the message says why and what to do."""


class Laid(Record, frozen=True, kw_only=True):
    """What was laid out for a run before its start."""

    mounts: tuple[tuple[str, str, bool], ...] = ()
    """(name of the folder or file below the run's `inputs`, path in the sandbox, whether it is a file)."""
    bytes_in: int = 0


class OrderNote(Record, frozen=True, kw_only=True):
    """What is kept of an order on disk: nothing secret, enough to collect and report after a restart."""

    run: str
    tenant: str = ""
    outputs: tuple[Output, ...] = ()
    gpus: tuple[str, ...] = ()
    """UUIDs of the real GPUs that it holds, where the engine knows them."""
    checkpoint: bool = False
    """It saves itself when it is told to, or by itself."""
    home: bool = False
    """It is a workspace, whose working folder is its home, which stays."""
    port: int = 0
    """What a replica of a service was given; 0 for none."""


class Result(Record, frozen=True, kw_only=True):
    """What collecting a run's outputs came to."""

    outputs: tuple[Kept, ...] = ()
    message: str = ""
    bytes_out: int = 0


def _open_passage(data: str) -> None:
    """Let other users pass through the factory's own folder, without seeing what is in it; its files stay closed."""
    mode = os.stat(data).st_mode & 0o777
    if os.stat(data).st_uid == os.geteuid() and not mode & 0o001:
        os.chmod(data, mode | 0o011)  # noqa: S103 - to pass through, not to read


class Folders:
    """The engine's folders below one root."""

    def __init__(self, root: str, *, open_to_tenants: bool, more: tuple[str, ...] = ()) -> None:
        """Make them, and those of the names `more`.

        `open_to_tenants`: other users must be able to pass through (there is no sandbox to bind them).
        """
        self.root = root
        os.makedirs(root, mode=0o700, exist_ok=True)
        for part in (*_PARTS, *more):
            os.makedirs(os.path.join(root, part), mode=0o700, exist_ok=True)
        passage = 0o711 if open_to_tenants else 0o700
        self._passage = passage
        os.chmod(root, passage)
        os.chmod(self.part("runs"), passage)
        if open_to_tenants:
            _open_passage(os.path.dirname(os.path.abspath(root)))

    def part(self, name: str) -> str:
        """The path of one of the folders."""
        return os.path.join(self.root, name)

    def live(self, run: str) -> str:
        """Where a started run lives."""
        return os.path.join(self.root, "runs", run)

    def find(self, run: str) -> str | None:
        """Where a run is: live or done; None if it was never started."""
        for part in ("runs", "done"):
            path = os.path.join(self.root, part, run)
            if os.path.isdir(path):
                return path
        return None

    def clear_prepared(self) -> None:
        """Take what was prepared by an earlier control plane out of any launcher's reach, then delete it."""
        for name in os.listdir(self.part("prepared")):
            with contextlib.suppress(OSError):
                os.rename(os.path.join(self.part("prepared"), name), os.path.join(self.part("trash"), name))
        for name in os.listdir(self.part("trash")):
            durable.remove_tree(os.path.join(self.part("trash"), name))

    def prepare(self, run: str) -> str:
        """A new, empty prepared folder for a run."""
        path = os.path.join(self.part("prepared"), f"{run}.{secrets.token_hex(8)}")
        os.mkdir(path, 0o700)
        return path

    def lay_out(
        self,
        path: str,
        order: RunOrder,
        scripts: dict[str, str],
        user: tuple[int, int] | None,
        gpus: tuple[str, ...] = (),
    ) -> None:
        """Fill a prepared folder with everything but inputs: the tenant's folders, `scripts`, what to remember."""
        os.chmod(path, self._passage)
        files = os.path.join(path, places.FILES)
        os.mkdir(files, 0o700)
        os.chmod(files, self._passage)
        for name, mode in (("home", 0o700), ("work", 0o700), ("tmp", 0o700), ("home/work", 0o755)):
            os.mkdir(os.path.join(files, name), mode)
            if user:
                os.chown(os.path.join(files, name), *user)
        link = os.path.join(files, "home", "sky_workdir")
        os.symlink("work", link)
        if user:
            os.chown(link, *user, follow_symlinks=False)
        if scripts:
            folder = os.path.join(path, places.SCRIPTS)
            os.mkdir(folder)
            os.chmod(folder, self._passage | 0o044)
        for name, text in scripts.items():
            with open(
                os.path.join(path, places.SCRIPTS, name), "w", encoding="utf-8", errors="surrogateescape"
            ) as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
        note = OrderNote(
            run=order.run,
            tenant=order.tenant,
            outputs=order.spec.outputs,
            gpus=gpus,
            checkpoint=order.spec.checkpoint is not None,
            home=order.spec.workspace is not None,
            port=order.port,
        )
        with open(os.path.join(path, places.ORDER), "wb") as file:
            file.write(msgspec.json.encode(note))

    def discard(self, path: str) -> None:
        """Delete a folder: out of sight at once, then piece by piece."""
        away = os.path.join(self.part("trash"), f"{os.path.basename(path)}.{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            os.rename(path, away)
            durable.remove_tree(away)

    def retire(self, run: str) -> None:
        """Move a run whose outcome is recorded to the done ones, and delete its files."""
        target = os.path.join(self.part("done"), run)
        with contextlib.suppress(FileNotFoundError):
            if not durable.rename_new(self.live(run), target):
                self.discard(target)
                durable.rename_new(self.live(run), target)
            os.utime(target)
            for name in (places.FILES, "inputs"):
                if os.path.isdir(os.path.join(target, name)):
                    durable.remove_tree(os.path.join(target, name))

    def purge(self, *, age_ms: int, count_max: int) -> None:
        """Delete done runs that are older than `age_ms`, and the oldest beyond `count_max`."""
        aged: list[tuple[float, str]] = []
        with os.scandir(self.part("done")) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    aged.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
        aged.sort(reverse=True)
        oldest = time.time() - age_ms / 1000
        for place, (at, path) in enumerate(aged):
            if at < oldest or place >= count_max:
                self.discard(path)


def lay_inputs(
    path: str,
    order: RunOrder,
    artifacts: Artifacts,
    user: tuple[int, int] | None,
    *,
    sandboxed: bool,
    workdir: bool,
) -> Laid:
    """Lay out the working folder (with `workdir`) and mounts of a prepared run. Raises PlanError."""
    total = 0
    mounts: list[tuple[str, str, bool]] = []
    what = "workdir"
    try:
        if order.spec.workdir and workdir:
            total += artifacts.materialise(
                order.spec.workdir, os.path.join(path, places.FILES, "work"), owner=user
            )
        for number, mount in enumerate(order.spec.mounts):
            what = f"mount `{mount.path}`"
            target, name = _place(path, number, mount.path, sandboxed=sandboxed)
            total += artifacts.materialise(mount.artifact, target, owner=user)
            if name:
                mounts.append(_as_mounted(target, name, mount.path))
    except (ArtifactError, BlobError, OSError) as error:
        raise PlanError(f"{what}: {error}") from error
    return Laid(mounts=tuple(mounts), bytes_in=total)


def _place(path: str, number: int, target: str, *, sandboxed: bool) -> tuple[str, str]:
    if sandboxed:
        folder = os.path.join(path, "inputs", str(number))
        os.makedirs(folder, mode=0o755)
        for shown in (folder, os.path.dirname(folder)):
            os.chmod(shown, 0o755)  # noqa: S103 - the tenant reads it; nobody else gets past the folder above
        return folder, str(number)
    for top, name in ((SANDBOX_WORK, "work"), (SANDBOX_HOME, "home")):
        if target.startswith(f"{top}/"):
            folder = os.path.join(path, places.FILES, name, target.removeprefix(f"{top}/"))
            os.makedirs(folder, exist_ok=True)
            return folder, ""
    raise PlanError(
        f"mount `{target}` is outside of the working folder, which takes a sandbox; install bubblewrap"
    )


def _as_mounted(folder: str, name: str, target: str) -> tuple[str, str, bool]:
    """An artifact of one file, mounted at a path that ends in the file's name, is that file and no folder."""
    inside = os.listdir(folder)
    last = target.rpartition("/")[2]
    if inside == [last] and os.path.isfile(os.path.join(folder, last)):
        return f"{name}/{last}", target, True
    return name, target, False


def collect_outputs(path: str, note: OrderNote, artifacts: Artifacts) -> Result:
    """Keep the outputs of an ended run, once: what was kept before is returned again. Raises OSError."""
    known = read_result(path)
    if known is not None:
        return known
    kept: list[Kept] = []
    problems: list[str] = []
    total = 0
    work = os.path.join(path, places.FILES, "work")
    for output in note.outputs:
        try:
            found = artifacts.collect(work, output.path)
        except (ArtifactError, BlobError, OSError) as error:
            problems.append(f"output `{output.name}` was not kept: {error}")
            continue
        total += found.size_bytes
        kept.append(Kept(name=output.name, artifact=found.artifact, size_bytes=found.size_bytes))
        if found.skipped:
            problems.append(
                f"output `{output.name}`: {len(found.skipped)} links and other non-files were left out"
            )
    result = Result(outputs=tuple(kept), message="; ".join(problems), bytes_out=total)
    durable.write_file(os.path.join(path, places.RESULT), msgspec.json.encode(result))
    return result


def read_result(path: str) -> Result | None:
    """What collecting came to, if it was done."""
    try:
        with open(os.path.join(path, places.RESULT), "rb") as file:
            return msgspec.json.decode(file.read(), type=Result)
    except (OSError, msgspec.DecodeError):
        return None


def read_note(path: str, run: str) -> OrderNote:
    """What is remembered of a run's order."""
    try:
        with open(os.path.join(path, places.ORDER), "rb") as file:
            return msgspec.json.decode(file.read(), type=OrderNote)
    except (OSError, msgspec.DecodeError):
        return OrderNote(run=run)
