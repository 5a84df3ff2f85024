"""Content-addressed artifacts: a manifest of files, each named by the SHA-256 of its bytes.

An artifact's id is `sha256:<hex>` of its manifest's canonical JSON, so equal folders have equal ids.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final

import msgspec

from tawtin.model.base import Record

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
DATASET_NAME: Final = re.compile(r"\w[\w.-]{0,62}")
"""What a dataset may be called, in any script: its name is a folder's, too."""


class FileEntry(Record, frozen=True, kw_only=True):
    """One regular file. Paths are relative, with `/`, without empty, `.` or `..` parts, at most 4,096 bytes."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    digest: Digest
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    executable: bool = False


class Manifest(Record, frozen=True, kw_only=True):
    """The files of an artifact, sorted by path, no path twice and none inside another."""

    files: tuple[FileEntry, ...] = ()


class Law(Record, frozen=True, kw_only=True):
    """What residency rules ask about bytes: their class, and the law of their origin."""

    data_class: str = msgspec.field(name="class", default="public")
    origin: str = ""
    """ISO 3166-1 alpha-2; empty means the country of the tenant, or of the factory."""


class Artifact(Record, frozen=True, kw_only=True):
    """An artifact as one tenant has it."""

    id: Digest
    tenant: str
    name: str = ""
    data_class: str = msgspec.field(name="class", default="public")
    origin: str = ""
    size_bytes: int = 0
    files: int = 0
    run: str = ""
    """The run that made it; empty when it was uploaded."""
    created_ms: int = 0
    places: tuple[str, ...] = ()
    """Peers that hold its bytes too, as far as is known here; sorted."""
    here: bool = True
    """Whether its bytes are here; where they may not be, only those of `places` have them."""
    more: tuple[Law, ...] = ()
    """Further laws that its bytes are under, where a run made it from data of several."""
    datasets: tuple[str, ...] = ()
    """Names by which specs read it, sorted; a tenant has each name once."""


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the canonical bytes of a manifest, which are kept as a blob of their own."""
    return msgspec.json.encode(manifest)


def manifest_id(manifest: Manifest) -> str:
    """Return the id of the artifact that a manifest describes: `sha256:<hex>` of its canonical bytes."""
    return "sha256:" + hashlib.sha256(encode_manifest(manifest)).hexdigest()
