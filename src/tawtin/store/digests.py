"""Names of bytes: `sha256:<hex>`, checked before they become part of a path or an object's key."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import IO, Final

from tawtin.ports import BlobError

CHUNK_BYTES: Final = 1 << 20
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


def hex_of(digest: str) -> str:
    """The 64 hexadecimal digits of a digest. Raises BlobError for anything else: no name leads elsewhere."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise BlobError(
            f"`{digest[:100]}` is no digest; write `sha256:` and 64 lower-case hexadecimal digits"
        )
    return match[1]


def digest_of(body: bytes) -> str:
    """Return the name of these bytes."""
    return f"sha256:{sha256(body).hexdigest()}"


class Checked:
    """Reads a source to its end, hashing and counting; refuses more than `size_bytes_max`."""

    def __init__(self, digest: str, source: IO[bytes], size_bytes_max: int) -> None:
        self._want = digest
        self._source = source
        self._max = size_bytes_max
        self._hash = sha256()
        self.size_bytes = 0

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        """At most `count` bytes, empty at the end. Raises BlobError beyond the limit."""
        chunk = self._source.read(count)
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max:
            raise BlobError(
                f"`{self._want}` is larger than the {self._max} bytes that are allowed; nothing was kept"
            )
        self._hash.update(chunk)
        return chunk

    def verify(self) -> None:
        """Raise BlobError if what was read does not hash to the name."""
        got = f"sha256:{self._hash.hexdigest()}"
        if got != self._want:
            raise BlobError(
                f"the bytes sent as `{self._want}` hash to `{got}`; nothing was kept: send them again"
            )
