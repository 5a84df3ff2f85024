"""Opens the journal or the blob store that a URL names; what needs an extra is imported when asked for."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tawtin.ports import Journal, JournalError


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
