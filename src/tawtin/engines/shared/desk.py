"""Where runs become jobs: laying a folder out, and submitting; and seeing to it that a run never starts.

Whoever makes a run's `token` decides: its batch script, as a file, that it starts; this desk, as a link, that it
never will. Either way the other finds out, on any file system and without asking the cluster.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from tawtin.engines.shared import book, durable, folders, scripts
from tawtin.engines.shared.book import Known, Never, Note
from tawtin.engines.shared.cluster import Cluster, ClusterRefusedError
from tawtin.engines.shared.folders import PlanError
from tawtin.model.reasons import Cause
from tawtin.ports import EngineParts, RunOrder

if TYPE_CHECKING:
    from tawtin.engines.shared.folders import Folders


class StartError(Exception):
    """The run cannot be started here, and it is recorded that it never will."""

    def __init__(self, never: Never) -> None:
        """Keep what was recorded."""
        super().__init__(never.message)
        self.never = never


class Desk:
    """Used by several workers at a time, each with a run of its own."""

    def __init__(self, cluster: Cluster, runs: Folders, parts: EngineParts) -> None:
        """`runs` holds all folders of runs."""
        self._cluster = cluster
        self._runs = runs
        self._parts = parts

    # --- starting ----------------------------------------------------------------------------------------------------

    def lay_out(self, order: RunOrder) -> Note | None:
        """Make the run's folder; None if it has one. Raises StartError.

        If a crash of the machine forgets it, it is made again, and of two jobs of its name one gets the token.
        """
        if self._runs.find(order.run) is not None:
            return None
        prepared = self._runs.prepare(order.run)
        try:
            note = self._fill(prepared, order)
        except (PlanError, OSError) as error:
            self._runs.discard(prepared)
            never = self.never(order.run, Cause.START_FAILED, str(error))
            if never is None:
                return None
            raise StartError(never) from error
        if not durable.rename_new(prepared, self._runs.live(order.run)):
            self._runs.discard(prepared)
            return None
        return note

    def _fill(self, prepared: str, order: RunOrder) -> Note:
        final = self._runs.live(order.run)
        given = self._cluster.give(order, final)
        self._runs.lay_out(prepared, order, given.scripts, None)
        laid = folders.lay_inputs(prepared, order, self._parts.artifacts, None, sandboxed=False, workdir=True)
        body = scripts.environment_file(order, final, given).encode("utf-8", "surrogateescape")
        durable.write_unread(os.path.join(prepared, scripts.ENVIRONMENT), body, sync=False)
        checkpoint, gpus = order.spec.checkpoint, max((len(slot.gpus) for slot in order.slots), default=0)
        note = Note(
            run=order.run,
            tenant=order.tenant,
            outputs=order.spec.outputs,
            submit=given.submit,
            nodes=tuple(slot.node for slot in order.slots),
            cpus=scripts.cpus_of(order),
            memory_mib=order.shape.memory_mib,
            gpus=gpus,
            indices=tuple(slot.gpus for slot in order.slots),
            gpu_model=given.gpu_model if gpus else "",
            declared=order.gpus_declared,
            bytes_in=laid.bytes_in,
            checkpoint=checkpoint.signal.removeprefix("SIG") if checkpoint else "",
            checkpoint_grace_ms=checkpoint.grace_ms if checkpoint else 0,
        )
        durable.write_unread(os.path.join(prepared, book.NOTE), msgspec.json.encode(note), sync=True)
        return note

    def submit(self, known: Known) -> None:
        """Submit what is laid out. Raises StartError, and ClusterDownError: it may be there then."""
        known.tried_at = time.monotonic()
        try:
            job = self._cluster.submit(known.run, known.folder, known.note)
        except ClusterRefusedError as error:
            never = self.never(known.run, Cause.START_FAILED, f"{self._cluster.title} refused it: {error}")
            if never is None:
                return
            raise StartError(never) from error
        finally:
            known.tried_at = time.monotonic()
        self.take_on(known, job)

    def take_on(self, known: Known, job: str) -> None:
        """Write down which job is the run's, unless its script knows better. Raises OSError.

        Not at once on disk: what a crash of the machine forgets is found again by the run's name.
        """
        durable.write_file(os.path.join(known.folder, book.JOB), job.encode(), sync=False)
        known.job = job

    # --- not starting ------------------------------------------------------------------------------------------------

    def never(self, run: str, cause: Cause, message: str = "") -> Never | None:
        """Record durably that the run has ended before it began; None if it did begin. Raises OSError."""
        never = Never(cause=cause, ended_ms=time.time_ns() // 1_000_000, message=message)
        if self._runs.find(run) is None:
            prepared = self._runs.prepare(run)
            book.write(prepared, book.NOTE, Note(run=run))
            book.write(prepared, book.NEVER, never)
            if durable.rename_new(prepared, self._runs.live(run)):
                durable.sync_folder(self._runs.part("runs"))
                return never
            self._runs.discard(prepared)
        folder = self._runs.live(run)
        if not take_token(folder):
            return None
        book.write(folder, book.NEVER, never)
        return never


def take_token(folder: str) -> bool:
    """Make it certain that the run of this folder never starts; False if it has. Raises OSError."""
    path = os.path.join(folder, scripts.TOKEN)
    try:
        os.symlink(book.NEVER, path)
    except FileExistsError:
        return os.path.islink(path)
    durable.sync_folder(folder)
    return True
