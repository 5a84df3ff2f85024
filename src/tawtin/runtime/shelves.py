"""What the factory's face can ask about artifacts: uploads, datasets, lists, files."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

import msgspec

from tawtin.core.datasets import changed
from tawtin.model.artifact import (
    DATASET_NAME,
    Artifact,
    FileEntry,
    Manifest,
    encode_manifest,
    manifest_id,
)
from tawtin.model.events import ArtifactDropped, ArtifactKept
from tawtin.model.rules import DATA_CLASSES
from tawtin.model.tenant import Scope
from tawtin.model.views import Page
from tawtin.ports import BlobError, Blobs
from tawtin.runtime.errors import Conflict, Full, Invalid, NotFound
from tawtin.runtime.workloads import PAGE_MAX
from tawtin.runtime.workspaces import Workspaces
from tawtin.store.artifacts import MANIFEST_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.runtime.actor import Actor


class Shelves(Workspaces):
    """Commands and reads about artifacts; every answer is durable."""

    def __init__(self, *, blobs: Blobs, **parts: Any) -> None:  # noqa: ANN401 - the parts of Live
        """Wire the parts of Live, and where artifacts are kept."""
        super().__init__(**parts)
        self.blobs = blobs
        self._uploaded: dict[str, set[str]] = {}
        if self.neighbours is not None and self.neighbours.tidying is not None:
            self.neighbours.tidying.uploaded = self._uploaded

    async def missing_blobs(self, actor: Actor, digests: tuple[str, ...]) -> tuple[str, ...]:
        """Which of these the factory asks for.

        It asks for all that the tenant's own artifacts do not hold: whether another tenant has the same bytes is
        nobody's business.
        """
        actor.need(Scope.SUBMIT)
        own = await self._own_digests(actor.tenant)
        missing = set(await self._blobs(self.blobs.missing, [each for each in digests if each in own]))
        return tuple(each for each in digests if each not in own or each in missing)

    async def _own_digests(self, tenant: str) -> set[str]:
        """What this tenant has shown to have: files of its artifacts, and what it uploaded since the start."""
        held = set(self._uploaded.get(tenant, ()))
        for artifact in list(self.state.artifacts.values()):
            if artifact.tenant == tenant and artifact.here:
                held.update(entry.digest for entry in (await self._manifest(artifact.id)).files)
        return held

    async def put_blob(self, actor: Actor, digest: str, source: IO[bytes], size_max: int) -> int:
        """Keep these bytes if they hash to `digest`; return their number."""
        actor.need(Scope.SUBMIT)
        self.check()
        size: int = await self._blobs(self.blobs.put, digest, source, size_max)
        self._uploaded.setdefault(actor.tenant, set()).add(digest)
        return size

    async def put_artifact(
        self,
        actor: Actor,
        manifest: Manifest,
        *,
        name: str = "",
        data_class: str = "public",
        origin: str = "",
        dataset: str = "",
        tenant: str | None = None,
    ) -> Artifact:
        """Record an artifact whose files this tenant has uploaded, as a dataset if it gets such a name. Idempotent.

        Naming the digest of somebody else's file is not enough to get at it: raises Invalid then. Raises Conflict for
        a dataset whose bytes the tenant has under another law.
        """
        actor.need(Scope.SUBMIT)
        about = self.known_tenant(actor, tenant)
        self.check()
        if data_class not in DATA_CLASSES:
            msg = f"`{data_class}` is no class of data: it is one of {', '.join(DATA_CLASSES)}"
            raise Invalid(msg)
        if dataset and not DATASET_NAME.fullmatch(dataset):
            msg = f"`{dataset}` is no name of a dataset: up to 63 letters, digits, `_`, `.` and `-`"
            raise Invalid(msg)
        own = await self._own_digests(actor.tenant)
        for entry in manifest.files:
            if entry.digest not in own:
                msg = f"file `{entry.path}` (`{entry.digest}`) was not uploaded: upload it first"
                raise Invalid(msg)
        body = encode_manifest(manifest)
        artifact_id = manifest_id(manifest)
        await self._blobs(self.blobs.put, artifact_id, io.BytesIO(body), len(body))
        artifact = Artifact(
            id=artifact_id,
            tenant=about,
            name=name,
            data_class=data_class,
            origin=origin,
            size_bytes=sum(entry.size_bytes for entry in manifest.files),
            files=len(manifest.files),
            created_ms=self.factory.now_ms(),
        )
        try:
            records = changed(self.state, artifact, dataset)
        except ValueError as error:
            raise Conflict(str(error)) from None
        if records:
            self.factory.stage(*(ArtifactKept(artifact=each) for each in records))
            await self.durable()
        return self.state.artifacts[about, artifact_id]

    async def artifacts(
        self,
        actor: Actor,
        *,
        tenant: str | None = None,
        datasets: bool = False,
        before: str = "",
        limit: int = 100,
    ) -> Page[Artifact]:
        """A page of a tenant's artifacts, newest first, or of its datasets alone; the cursor is `<created_ms>/<id>`."""
        actor.need(Scope.READ)
        about = actor.about(tenant)
        await self.settle()
        found = sorted(
            (
                (f"{each.created_ms:015d}/{each.id}", each)
                for each in self.state.artifacts.values()
                if each.tenant == about and (each.datasets or not datasets)
            ),
            key=lambda pair: pair[0],
            reverse=True,
        )
        page = [pair for pair in found if not before or pair[0] < before]
        limit = min(limit, PAGE_MAX)
        return Page(
            items=tuple(each for _, each in page[:limit]),
            next=page[limit - 1][0] if len(page) > limit else "",
        )

    async def artifact(self, actor: Actor, artifact_id: str) -> tuple[Artifact, Manifest]:
        """An artifact of the caller's tenant and its files. Raises NotFound."""
        actor.need(Scope.READ)
        artifact = await self._held(actor, artifact_id)
        return artifact, await self._manifest(artifact_id)

    async def _held(self, actor: Actor, artifact_id: str) -> Artifact:
        await self.settle()
        artifact = self.state.artifacts.get((actor.tenant, artifact_id))
        if artifact is None and actor.admin:
            held = (each for each in self.state.artifacts.values() if each.id == artifact_id)
            artifact = next(held, None)
        if artifact is None:
            msg = f"no artifact `{artifact_id}`"
            raise NotFound(msg)
        return artifact

    async def _manifest(self, artifact_id: str) -> Manifest:
        source: IO[bytes] = await self._blobs(self.blobs.open, artifact_id)
        with source:
            body = await self.in_thread(source.read, MANIFEST_BYTES_MAX)
        return msgspec.json.decode(body, type=Manifest)  # it was checked when it was put

    async def open_blob(self, actor: Actor, artifact_id: str, path: str) -> tuple[FileEntry, IO[bytes]]:
        """One file of an artifact. Raises NotFound."""
        _, manifest = await self.artifact(actor, artifact_id)
        for entry in manifest.files:
            if entry.path == path:
                return entry, await self._blobs(self.blobs.open, entry.digest)
        msg = f"no file `{path}` in artifact `{artifact_id}`"
        raise NotFound(msg)

    async def drop_artifact(self, actor: Actor, artifact_id: str) -> None:
        """Give up an artifact: the tenant no longer has it. Its bytes are not reclaimed yet."""
        actor.need(Scope.SUBMIT)
        artifact = await self._held(actor, artifact_id)
        self.check()
        self.factory.stage(ArtifactDropped(tenant=artifact.tenant, id=artifact_id, by=actor.key))
        await self.durable()

    async def _blobs(self, call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - what `call` gives
        try:
            return await self.in_thread(call, *args)
        except BlobError as error:
            raise (Full(str(error)) if error.full else Invalid(str(error))) from error
