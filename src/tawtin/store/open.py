"""Opens the journal or the blob store that a URL names; what needs an extra is imported when asked for."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tawtin.ports import BlobError, Blobs, Journal, JournalError


def open_journal(url: str) -> Journal:
    """Return the journal at `url`.

    `sqlite:///path` is a file at that absolute path, `postgresql://...` a database in libpq's notation,
    `memory:` is forgotten at the end. Raises JournalError.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        from tawtin.store.memory import MemoryJournal  # noqa: PLC0415

        return MemoryJournal()
    if scheme == "sqlite":
        from tawtin.store.sqlite import SqliteJournal  # noqa: PLC0415

        return SqliteJournal(_file_path(url))
    if scheme in {"postgresql", "postgres"}:
        from tawtin.store.postgres import PostgresJournal  # noqa: PLC0415

        return PostgresJournal(url)
    raise JournalError(
        f"`{_without_password(url)}` names no journal; write `sqlite:///path/to/journal.db`, "
        "`postgresql://user@host/database` or `memory:`"
    )


def open_blobs(url: str) -> Blobs:
    """Return the blob store at `url`.

    `file:///path` is a folder at that absolute path, `s3://bucket/prefix?endpoint=https://host&region=name`
    any store that speaks S3. Raises BlobError.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        from tawtin.store.blobs import LocalBlobs  # noqa: PLC0415

        try:
            return LocalBlobs(_file_path(url))
        except JournalError as error:
            raise BlobError(str(error)) from error
    if scheme == "s3":
        from tawtin.store.s3 import S3Blobs  # noqa: PLC0415

        return S3Blobs(url)
    raise BlobError(
        f"`{_without_password(url)}` names no blob store; write `file:///path/to/folder` "
        "or `s3://bucket/prefix?endpoint=https://host`"
    )


def _file_path(url: str) -> Path:
    """The absolute path that `scheme:///path` names."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    if parts.netloc or not path or parts.query or parts.fragment:
        raise JournalError(f"`{url}` names no file; write `{parts.scheme}:///absolute/path`")
    return Path("/", path)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(parts.netloc, parts.netloc.rpartition("@")[2]) if "@" in parts.netloc else url
