"""Artifacts: which blobs are missing, upload them, keep the manifest; list, read, drop."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator
from typing import IO, TYPE_CHECKING, Final, cast

from tawtin.model.requests import ArtifactNew, Digests
from tawtin.model.views import ArtifactView, BlobKept, FieldError
from tawtin.ports import ArtifactError
from tawtin.store.artifacts import check_manifest
from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer, Exchange, answer

if TYPE_CHECKING:
    from tawtin.model.requests import ArtifactFilter, ForTenant

MEMORY_BYTES_MAX: Final = 256 << 10
MANIFEST_BYTES_MAX: Final = 32 << 20
READ_BYTES: Final = 256 << 10
OCTETS: Final = b"application/octet-stream"


async def missing_blobs(exchange: Exchange) -> Answer:
    """Say which of these blobs have to be uploaded."""
    wanted = await exchange.read(Digests)
    return answer(Digests(digests=await exchange.service.missing_blobs(exchange.actor, wanted.digests)))


async def put_blob(exchange: Exchange) -> Answer:
    """Upload a blob. Its name is the SHA-256 of its bytes, so that a repeat changes nothing."""
    settings, digest = exchange.settings, exchange.params["digest"]
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX, dir=settings.spool_dir or None) as spool:
        held = 0
        async for piece in exchange.pieces(settings.blob_bytes_max):
            held += len(piece)
            if held > MEMORY_BYTES_MAX:
                await asyncio.to_thread(spool.write, piece)
            else:
                spool.write(piece)
        spool.seek(0)
        source = cast("IO[bytes]", spool)
        size = await exchange.service.put_blob(exchange.actor, digest, source, settings.blob_bytes_max)
    return answer(BlobKept(digest=digest, size_bytes=size), status=201)


async def put_artifact(exchange: Exchange) -> Answer:
    """Keep an artifact: a manifest whose blobs have been uploaded. The same manifest gives the same id."""
    wanted = await exchange.read(ArtifactNew, MANIFEST_BYTES_MAX)
    try:
        await asyncio.to_thread(check_manifest, wanted.manifest)
    except ArtifactError as error:
        place = FieldError(field="manifest.files", message=str(error))
        raise HttpError(400, str(error), "Invalid", errors=(place,)) from None
    query: ForTenant = exchange.query
    artifact = await exchange.service.put_artifact(
        exchange.actor,
        wanted.manifest,
        name=wanted.name,
        data_class=wanted.data_class,
        origin=wanted.origin,
        dataset=wanted.dataset,
        tenant=query.tenant,
    )
    return answer(artifact, status=201, headers=[(b"location", f"/api/v1/artifacts/{artifact.id}".encode())])


async def list_artifacts(exchange: Exchange) -> Answer:
    """List a tenant's artifacts, newest first."""
    query: ArtifactFilter = exchange.query
    page = await exchange.service.artifacts(
        exchange.actor,
        tenant=query.tenant,
        datasets=query.datasets,
        before=query.before,
        limit=query.limit,
    )
    return answer(page)


async def show_artifact(exchange: Exchange) -> Answer:
    """Show an artifact and the files in it."""
    artifact, manifest = await exchange.service.artifact(exchange.actor, exchange.params["id"])
    return answer(ArtifactView(artifact=artifact, manifest=manifest))


async def read_file(exchange: Exchange) -> Answer:
    """Download one file of an artifact."""
    entry, source = await exchange.service.open_blob(
        exchange.actor, exchange.params["id"], exchange.params["path"]
    )
    headers = [
        (b"content-length", b"%d" % entry.size_bytes),
        (b"content-disposition", b"attachment"),
        (b"repr-digest", b"sha-256=:%s:" % _base64(entry.digest)),
    ]
    return Answer(media=OCTETS, headers=headers, stream=_read(source), close=source.close)


async def _read(source: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(source.read, READ_BYTES):
        yield piece


def _base64(digest: str) -> bytes:
    return base64.b64encode(bytes.fromhex(digest.removeprefix("sha256:")))


async def drop_artifact(exchange: Exchange) -> Answer:
    """Give up an artifact: the tenant no longer has it."""
    await exchange.no_body()
    await exchange.service.drop_artifact(exchange.actor, exchange.params["id"])
    return Answer(status=204)
