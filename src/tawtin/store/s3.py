"""Blobs in any S3-compatible store, through the extra `tawtin[s3]`.

An object's key is `<prefix>/<2 hex>/<62 hex>`. Bytes are hashed while they stream out, and the upload is
finished only if they hash to their name: a store shows an object after its multipart upload was completed,
never before. What an aborted upload leaves behind is hidden and costs space; a lifecycle rule of the bucket
should remove incomplete uploads.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tawtin.ports import BlobError
from tawtin.store.digests import Checked, hex_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import ReadableFile
    from obstore.store import ClientConfig, S3Config, S3Store

PART_BYTES: Final = 8 << 20
_MISSING_EXTRA: Final = (
    "blobs in S3 need a package that is not here; `pip install 'tawtin[s3]'`, or keep blobs in a folder"
)
_OPTIONS: Final = frozenset({"endpoint", "region"})
_RETRIES: Final = 3
_PATIENCE: Final = timedelta(seconds=20)
"""For how long a store that does not answer is asked again."""
_FULL: Final = ("QuotaExceeded", "InsufficientStorage", "StorageFull", "InsufficientCapacity", "507 ")


class S3Blobs:
    """Blobs at `s3://bucket/prefix?endpoint=https://host&region=name`.

    Credentials come from the arguments, else from the environment (`AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY`), else from the machine's role; never from the URL, which ends up in logs. Raises
    BlobError for a URL that is not understood or a missing extra; the store itself is first asked when it is
    used.
    """

    def __init__(self, url: str, *, access_key_id: str = "", secret_access_key: str = "") -> None:
        self._store, self._place = _connect(url, access_key_id, secret_access_key)
        self._secret = secret_access_key or os.environ.get("AWS_SECRET_ACCESS_KEY", "")

    def has(self, digest: str) -> bool:
        """Whether these bytes are kept. Raises BlobError if the store does not answer."""
        import obstore  # noqa: PLC0415 - an extra

        try:
            obstore.head(self._store, _key(digest))
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._explain(error) from error
        return True

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Which of these are not kept, in the order given."""
        return [digest for digest in digests if not self.has(digest)]

    def put(self, digest: str, source: IO[bytes], size_bytes_max: int) -> int:
        """Keep what `source` yields, if it hashes to `digest`; return its size. Atomic and idempotent."""
        import obstore  # noqa: PLC0415 - an extra

        key = _key(digest)
        upload = _Upload(Checked(digest, source, size_bytes_max))
        first = upload.part()
        try:
            if upload.ended:
                obstore.put(self._store, key, first, use_multipart=False)
            else:
                obstore.put(self._store, key, upload.parts(first), chunk_size=PART_BYTES, max_concurrency=4)
        except Exception as error:
            raise upload.error or self._explain(error) from error
        return upload.size_bytes

    def open(self, digest: str) -> IO[bytes]:
        """Read the bytes. Raises BlobError if they are not here."""
        import obstore  # noqa: PLC0415 - an extra

        try:
            reader = obstore.open_reader(self._store, _key(digest), buffer_size=PART_BYTES)
        except FileNotFoundError as error:
            raise BlobError(f"`{digest}` is not kept here; upload it first") from error
        except Exception as error:
            raise self._explain(error) from error
        return io.BufferedReader(_Reader(reader, self), PART_BYTES)

    def drop(self, digest: str) -> None:
        """Forget the bytes, if they are here."""
        import obstore  # noqa: PLC0415 - an extra

        try:
            obstore.delete(self._store, _key(digest))
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._explain(error) from error

    def explain(self, error: Exception) -> BlobError:
        """Put a failure of the store into words, without credentials."""
        return self._explain(error)

    def _explain(self, error: Exception) -> BlobError:
        said = " ".join(str(error).partition("Debug source:")[0].split())
        if self._secret:
            said = said.replace(self._secret, "***")
        full = any(word in said for word in _FULL)
        advice = (
            "free some space or raise its quota"
            if full
            else "check the address, the bucket and the credentials"
        )
        return BlobError(f"`{self._place}` failed: {said[:400]}; {advice}", full=full)


class _Upload:
    """Parts of a source, checked before the last one is handed over."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self.ended = False
        self.error: BlobError | None = None

    @property
    def size_bytes(self) -> int:
        return self._checked.size_bytes

    def part(self) -> bytes:
        """The next PART_BYTES, fewer at the end; the last one only if all of them hash to their name."""
        collected = bytearray()
        while len(collected) < PART_BYTES:
            chunk = self._checked.read(PART_BYTES - len(collected))
            if not chunk:
                self._checked.verify()
                self.ended = True
                break
            collected += chunk
        return bytes(collected)

    def parts(self, first: bytes) -> Iterator[bytes]:
        """All parts; a failure is kept in `error`, because the uploader words it anew."""
        yield first
        try:
            while not self.ended:
                if part := self.part():
                    yield part
        except BlobError as error:
            self.error = error
            raise


class _Reader(io.RawIOBase):
    """An object as a file that can be read and sought in."""

    def __init__(self, reader: ReadableFile, blobs: S3Blobs) -> None:
        self._reader = reader
        self._blobs = blobs

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            chunk = self._reader.read(len(view))
        except Exception as error:
            raise self._blobs.explain(error) from error
        view[: len(chunk)] = memoryview(chunk)
        return len(chunk)


def _key(digest: str) -> str:
    name = hex_of(digest)
    return f"{name[:2]}/{name[2:]}"


def _connect(url: str, access_key_id: str, secret_access_key: str) -> tuple[S3Store, str]:
    """The store that a URL names, and the URL as it may be shown."""
    try:
        from obstore.store import S3Store  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BlobError(_MISSING_EXTRA) from error
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise BlobError(
            "an `s3://` URL must hold no credentials; set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` instead"
        )
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme != "s3" or not parts.netloc or parts.fragment or not options.keys() <= _OPTIONS:
        raise BlobError(
            f"`{url}` names no bucket; write `s3://bucket/prefix?endpoint=https://host&region=name`"
        )
    config: S3Config = {"region": options.get("region") or os.environ.get("AWS_REGION", "us-east-1")}
    client: ClientConfig = {"connect_timeout": "5s", "timeout": "120s"}
    if endpoint := options.get("endpoint", ""):
        if urlsplit(endpoint).scheme not in {"http", "https"} or "@" in endpoint:
            raise BlobError(f"`{endpoint}` is no endpoint; write `https://host:port`")
        config["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    if access_key_id:
        config["access_key_id"] = access_key_id
        config["secret_access_key"] = secret_access_key
    store = S3Store(
        parts.netloc,
        prefix=unquote(parts.path).strip("/") or None,
        config=config,
        client_options=client,
        retry_config={"max_retries": _RETRIES, "retry_timeout": _PATIENCE},
    )
    return store, f"s3://{parts.netloc}{parts.path}"
