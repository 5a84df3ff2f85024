"""Files between factories: the one that runs pulls inputs from home, home pulls outputs from the one that ran.

Files travel in pieces, a few at a time; each is hashed before it counts, and what has arrived of it survives a restart.
What leaves is recorded before its first byte, what came in after its last. Only what an epoch names may be asked for.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from tawtin.model.roaming import FileAsk, Piece, Side
from tawtin.ports import ArtifactError, BlobError, TransportError
from tawtin.runtime.errors import NotFound
from tawtin.store.artifacts import MANIFEST_BYTES_MAX, decode_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tawtin.model.artifact import Manifest
    from tawtin.model.roaming import Peer
    from tawtin.ports import Blobs, Incoming, Pieces

log = logging.getLogger("tawtin.carriage")
PIECE_BYTES: Final = 1 << 19
AT_ONCE: Final = 8
"""Pieces of one transfer that are under way at a time."""
PAUSE_S: Final = 1.0
PAUSE_S_MAX: Final = 30.0
BAD_MAX: Final = 3
"""So often may what a peer gives as a file not hash to its name before it is given up."""
MEMORIES_MAX: Final = 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is brought from a peer: all artifacts of one direction of one epoch."""

    workload: str
    epoch: int
    side: Side
    artifacts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Brought:
    """One artifact that is here now: its bytes, and those of them that had to travel."""

    size_bytes: int
    moved_bytes: int


class Broken(Exception):
    """A peer does not give what it promised; the message says which file."""


class Carriage:
    """Both ends of transfers."""

    def __init__(
        self, *, blobs: Blobs, incoming: Incoming, transport: Pieces, bytes_max: int = 1 << 40
    ) -> None:
        """`bytes_max` is the most that one artifact of a peer may have."""
        self.blobs = blobs
        self.incoming = incoming
        self.transport = transport
        self.bytes_max = bytes_max
        self._named: dict[str, frozenset[str]] = {}
        """Digests of an artifact's files, of the last few that were asked for."""

    # --- giving ---------------------------------------------------------------------------------------------------

    async def give(self, ask: FileAsk, artifacts: Iterable[str]) -> Piece:
        """A piece of a file, if it is one of these artifacts, or in one. Raises NotFound."""
        for artifact in artifacts:
            if ask.digest == artifact or ask.digest in await self._files_of(artifact):
                return await _off(self._read, ask)
        msg = f"epoch {ask.epoch} of `{ask.workload}` names no file `{ask.digest}`"
        raise NotFound(msg)

    async def _files_of(self, artifact: str) -> frozenset[str]:
        known = self._named.get(artifact)
        if known is None:
            manifest = await _off(self.manifest, artifact)
            known = frozenset(entry.digest for entry in manifest.files)
            while len(self._named) >= MEMORIES_MAX:
                self._named.pop(next(iter(self._named)))
            self._named[artifact] = known
        return known

    def manifest(self, artifact: str) -> Manifest:
        """The files of an artifact that is here. Blocks. Raises NotFound."""
        try:
            with self.blobs.open(artifact) as source:
                return decode_manifest(source.read(MANIFEST_BYTES_MAX))
        except (BlobError, ArtifactError) as error:
            msg = f"`{artifact}` is not here any more: {error}"
            raise NotFound(msg) from None

    def _read(self, ask: FileAsk) -> Piece:
        try:
            with self.blobs.open(ask.digest) as source:
                size = source.seek(0, 2)
                source.seek(ask.offset)
                return Piece(size_bytes=size, data=_exactly(source, ask.limit))
        except BlobError as error:
            raise NotFound(str(error)) from None

    # --- bringing -------------------------------------------------------------------------------------------------

    async def bring(
        self, peer: Callable[[], Peer | None], load: Load, moved: Callable[[], None]
    ) -> list[Brought]:
        """Bring all artifacts of `load` here, however long it takes; return what each came to, in their order.

        `peer` gives the peer as it is known at that time, None to stop trying; `moved` is called whenever something
        arrives. Raises Broken if what the peer gives is not what it promised, TransportError if trying was stopped.
        """
        pause_s, bad = PAUSE_S, 0
        while True:
            at = peer()
            if at is None:
                msg = "it is not wanted any more"
                raise TransportError(msg)
            try:
                fetch = _Fetch(self, at, load, moved)
                return [await fetch.artifact(name) for name in load.artifacts]
            except TransportError as error:
                log.info("files of %s.%d are not had yet: %s", load.workload, load.epoch, error)
            except (BlobError, ArtifactError) as error:
                bad += not error.full
                log.warning("files of %s.%d: %s", load.workload, load.epoch, error)
                if bad >= BAD_MAX:
                    raise Broken(str(error)) from None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)


class _Fetch:
    """One try at a load."""

    def __init__(self, carriage: Carriage, peer: Peer, load: Load, moved: Callable[[], None]) -> None:
        self.carriage = carriage
        self.peer = peer
        self.load = load
        self.moved = moved
        self.gate = asyncio.Semaphore(AT_ONCE)

    async def artifact(self, name: str) -> Brought:
        """Bring one artifact: its manifest, then what is not here of its files."""
        carriage = self.carriage
        if not await _off(carriage.blobs.has, name):
            await self._file(name, None)
        manifest = await _off(carriage.manifest, name)
        size = sum(entry.size_bytes for entry in manifest.files)
        if size > carriage.bytes_max:
            msg = f"`{name}` has {size} bytes; at most {carriage.bytes_max} are taken in"
            raise ArtifactError(msg)
        sizes = {entry.digest: entry.size_bytes for entry in manifest.files}
        missing = await _off(carriage.blobs.missing, list(sizes))
        lanes = iter(missing)

        async def lane() -> None:
            for digest in lanes:
                await self._file(digest, sizes[digest])

        await _all(lane() for _ in range(min(AT_ONCE, len(missing))))
        return Brought(size, sum(sizes[digest] for digest in missing))

    async def _file(self, digest: str, want: int | None) -> None:
        """Bring one file of `want` bytes; a manifest says itself how many it has."""
        incoming = self.carriage.incoming
        at = await _off(incoming.size, digest)
        size = want
        if size is None or at > size:
            await _off(incoming.drop, digest)
            first = await self._piece(digest, 0)
            size, at = first.size_bytes, len(first.data)
            if size > MANIFEST_BYTES_MAX and want is None:
                msg = f"the manifest `{digest}` is larger than {MANIFEST_BYTES_MAX} bytes"
                raise ArtifactError(msg)
            await _off(incoming.add, digest, 0, first.data)
        while at < size:
            offsets = range(at, min(size, at + AT_ONCE * PIECE_BYTES), PIECE_BYTES)
            pieces = await _all(self._piece(digest, offset) for offset in offsets)
            for offset, piece in zip(offsets, pieces, strict=True):
                if len(piece.data) != min(PIECE_BYTES, size - offset):
                    await _off(incoming.drop, digest)
                    msg = f"`{digest}` ends at {offset + len(piece.data)} where {size} bytes were announced"
                    raise BlobError(msg)
                await _off(incoming.add, digest, offset, piece.data)
                at = offset + len(piece.data)
        await _off(incoming.keep, digest, size)

    async def _piece(self, digest: str, offset: int) -> Piece:
        load = self.load
        async with self.gate:
            piece = await self.carriage.transport.piece(
                self.peer,
                FileAsk(
                    workload=load.workload,
                    epoch=load.epoch,
                    side=load.side,
                    digest=digest,
                    offset=offset,
                    limit=PIECE_BYTES,
                ),
            )
        self.moved()
        return piece


def _exactly(source: IO[bytes], count: int) -> bytes:
    """That many bytes, or all that are left."""
    pieces: list[bytes] = []
    while count and (piece := source.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


async def _all(calls: Iterable[Any]) -> list[Any]:
    """All results; at the first failure the others are ended before it is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _off(call: Callable[..., T], *args: object) -> T:
    """A blocking call, off the event loop."""
    return await asyncio.to_thread(call, *args)
