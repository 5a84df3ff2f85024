"""Files of guests do not stay: some time after an epoch is settled, what nothing else names is deleted, and recorded.

1. An epoch is due once it was settled so long ago, and this process has run so long that all who use files were seen.
2. Its inputs, and those outputs that home has fetched, go, but for what an artifact of a tenant, a live workload,
   another epoch whose files are here, or an upload names.
3. They are not offered any more; the log says so; then the bytes go; then that is recorded too, so that a restart in
   between goes on with it. What somebody uses meanwhile is left for a later round.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tawtin.model.events import ArtifactDropped, GuestFilesDropped, GuestFilesGone
from tawtin.model.roaming import DroppedFiles, FilesState
from tawtin.model.workload import inputs_of
from tawtin.ports import ArtifactError, BlobError
from tawtin.runtime.errors import ServiceError
from tawtin.runtime.roaming.lending import tenant_of
from tawtin.store.artifacts import MANIFEST_BYTES_MAX, decode_manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from tawtin.core.state import State
    from tawtin.model.roaming import Guest
    from tawtin.runtime.factory import Factory
    from tawtin.store.guarded import GuardedBlobs

log = logging.getLogger("tawtin.tidying")
EVERY_MS_MAX: Final = 60_000
"""How often it is looked for epochs whose files are due, at least."""


class Tidying:
    """Deletes the files of guests, over all lives of the state in this process."""

    def __init__(self, blobs: GuardedBlobs, keeps_ms: int) -> None:
        """Files stay for `keeps_ms` after their epoch was settled."""
        self.blobs = blobs
        self.keeps_ms = keeps_ms
        self.uploaded: Mapping[str, Iterable[str]] = {}
        """Tenant -> files that it uploaded, which no artifact may name yet."""
        self._began_ms: int | None = None

    async def run(self, factory: Callable[[], Factory], durable: Callable[[], Awaitable[None]]) -> None:
        """Look every so often, for ever. `factory` gives the present state machine, `durable` waits for its log."""
        while True:
            await asyncio.sleep(min(EVERY_MS_MAX, max(100, self.keeps_ms // 2)) / 1000)
            try:
                await self.once(factory, durable)
            except (ServiceError, BlobError, ArtifactError) as error:
                log.warning("files of guests stay for now: %s", error)

    async def once(self, factory: Callable[[], Factory], durable: Callable[[], Awaitable[None]]) -> None:
        """Delete what is due."""
        now_ms, tick = factory().now_ms(), factory().clock.monotonic_ms()
        if self._began_ms is None:
            self._began_ms = tick
        if tick - self._began_ms < self.keeps_ms:
            return
        for guest in list(factory().state.leftovers.values()):
            due_ms = (guest.settled_ms or 0) + self.keeps_ms
            if guest.files is FilesState.GOING or due_ms <= now_ms:
                await self._clear(factory, guest.key, durable)

    async def _clear(
        self, factory: Callable[[], Factory], key: str, durable: Callable[[], Awaitable[None]]
    ) -> None:
        """All of one epoch, or nothing yet."""
        guest = factory().state.leftovers[key]
        named = _named(factory().state, guest)
        going = [each for each in _files_of(guest) if each not in named]
        sizes = await asyncio.to_thread(self._sizes, going, sorted(named))
        uploads = {digest for digests in self.uploaded.values() for digest in digests}
        sizes = {
            name: {each: held[each] for each in held if each not in uploads} for name, held in sizes.items()
        }
        every = {digest for held in sizes.values() for digest in held}
        # nobody can have begun to rely on these since without having looked for them, which `retire` knows
        if _named(factory().state, guest) != named or not self.blobs.retire(every):
            return
        try:
            if guest.files is FilesState.HERE:
                factory().stage(*_record(factory().state, guest, sizes))
                await durable()
            # manifests are the last to go, as they say what else there is
            await asyncio.to_thread(self._drop, sorted(every - sizes.keys()), sorted(every & sizes.keys()))
        finally:
            self.blobs.restore(every)
        if key in factory().state.leftovers:
            factory().stage(GuestFilesGone(guest=key))
            await durable()

    def _drop(self, *groups: list[str]) -> None:
        for group in groups:
            for digest in group:
                self.blobs.drop(digest)

    def _sizes(self, going: list[str], named: list[str]) -> dict[str, dict[str, int]]:
        """By artifact that is here: its manifest and files, and their bytes, without what `named` ones need as well."""
        kept: set[str] = set(named)
        for artifact in named:
            kept.update(self._manifest(artifact))
        found: dict[str, dict[str, int]] = {}
        counted: set[str] = set()
        for artifact in going:
            held = {
                digest: size
                for digest, size in self._manifest(artifact).items()
                if digest not in kept | counted
            }
            counted.update(held)
            if held:
                found[artifact] = held
        return found

    def _manifest(self, artifact: str) -> dict[str, int]:
        """The manifest itself and its files, with their bytes; empty if it is not here."""
        try:
            with self.blobs.peek(artifact) as source:
                body = source.read(MANIFEST_BYTES_MAX)
        except BlobError:
            return {}
        files = {entry.digest: entry.size_bytes for entry in decode_manifest(body).files}
        return {artifact: len(body), **files}


def _files_of(guest: Guest) -> tuple[str, ...]:
    """Its inputs, and the outputs that home has."""
    outputs = guest.receipt.receipt.outputs if guest.receipt is not None else ()
    fetched = (each.artifact for each in outputs if each.artifact in guest.fetched)
    return tuple(dict.fromkeys((*guest.inputs, *fetched)))


def _named(state: State, guest: Guest) -> frozenset[str]:
    """Artifacts that something else here names. An output is an artifact of its home's tenant, which gives it up."""
    outputs, tenant = {*_files_of(guest)} - {*guest.inputs}, tenant_of(guest.home)
    held = {artifact for owner, artifact in state.artifacts if owner != tenant or artifact not in outputs}
    for workload in state.workloads.values():
        held.update(inputs_of(workload.spec))
    for other in (*state.guests.values(), *state.leftovers.values()):
        if other.key != guest.key and other.files is FilesState.HERE:
            held.update(other.inputs)
            held.update(each.artifact for each in (other.receipt.receipt.outputs if other.receipt else ()))
    return frozenset(held)


def _record(
    state: State, guest: Guest, sizes: Mapping[str, Mapping[str, int]]
) -> tuple[GuestFilesDropped | ArtifactDropped, ...]:
    """What becomes true before the first byte goes."""
    dropped = tuple(
        DroppedFiles(artifact=artifact, size_bytes=sum(held.values()), files=len(held) - (artifact in held))
        for artifact, held in sizes.items()
        if held
    )
    tenant = tenant_of(guest.home)
    given_up = tuple(
        ArtifactDropped(tenant=tenant, id=artifact, by="retention")
        for artifact in sizes
        if (tenant, artifact) in state.artifacts
    )
    return (GuestFilesDropped(guest=guest.key, dropped=dropped), *given_up)
