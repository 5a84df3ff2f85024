"""A folder on its way to the factory: hashed here, only what is missing there is sent, with progress on a terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import exits, output
from tawtin.client import calls
from tawtin.client.errors import ClientError
from tawtin.client.flows import MISSING_AT_ONCE, send
from tawtin.client.folder import scan

if TYPE_CHECKING:
    from tawtin.client import Client
    from tawtin.model.artifact import Artifact


def upload(
    client: Client,
    path: Path,
    *,
    name: str = "",
    data_class: str = "public",
    origin: str = "",
    dataset: str = "",
    tenant: str | None = None,
) -> Artifact:
    """Keep a file or folder as an artifact. Raises Fault for what cannot be read."""
    line = output.StatusLine()
    line.show(f"{path}: reading")
    if not path.exists():
        raise exits.Fault(
            f"there is no file or folder `{path}`", hint="paths in a spec are relative to where you are"
        )
    try:
        scanned = scan(path)
    except (ClientError, OSError) as error:
        raise exits.Fault(str(error)) from None
    digests = sorted(scanned.sources)
    missing: list[str] = []
    for begin in range(0, len(digests), MISSING_AT_ONCE):
        missing += client.finish(send(calls.missing_blobs(digests[begin : begin + MISSING_AT_ONCE])))
    total = sum(os.stat(scanned.sources[digest]).st_size for digest in missing)
    sent = 0
    for digest in missing:
        source = scanned.sources[digest]
        line.show(f"{path}: {output.size(sent)} of {output.size(total)}, {source.name}")
        client.finish(send(calls.put_blob(digest, source)))
        sent += os.stat(source).st_size
    line.clear()
    return client.finish(
        send(
            calls.put_artifact(
                scanned.manifest,
                name=name,
                data_class=data_class,
                origin=origin,
                dataset=dataset,
                tenant=tenant,
            )
        )
    )
