"""Every statement that the SQLite journal runs, each with what it is for."""

from __future__ import annotations

from typing import Final

from tawtin.ports import Query

APPEND_EVENT: Final = "INSERT INTO events (seq, at_ms, kind, leaf, body) VALUES (?, ?, ?, ?, ?)"
"""Add one entry to the log. A sequence number that is taken is an error."""

PUT_RECORD: Final = """
INSERT INTO records (kind, id, tenant, phase, parent, live, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET tenant = excluded.tenant, phase = excluded.phase,
parent = excluded.parent, live = excluded.live, body = excluded.body
"""
"""Write the newest form of one record."""

DELETE_RECORD: Final = "DELETE FROM records WHERE kind = ? AND id = ?"
"""Remove one record."""

KEEP_VALUE: Final = """
INSERT INTO secrets (workload, name, value) VALUES (?, ?, ?)
ON CONFLICT (workload, name) DO UPDATE SET value = excluded.value
"""
"""Keep one secret value of a workload."""

DROP_SECRETS: Final = "DELETE FROM secrets WHERE workload = ?"
"""Delete all secret values of a workload."""

SET_CHAIN: Final = "UPDATE chain SET size = ?, frontier = ?, root = ? WHERE one = 1 AND size = ?"
"""Move the head of the log; changes nothing if the log is not where this process left it."""

GET_CHAIN: Final = "SELECT size, frontier, root FROM chain WHERE one = 1"
"""The head of the log and what appending to it needs."""

COUNT_EVENTS: Final = "SELECT coalesce(max(seq) + 1, 0) FROM events"
"""How long the log is by its last entry; must equal the head's size."""

LIVE_RECORDS: Final = """
SELECT kind, id, tenant, phase, parent, body FROM records INDEXED BY records_live
WHERE live = 1 AND kind = ? ORDER BY id
"""
"""The records of one kind that are loaded into memory at start."""

GET_RECORD: Final = "SELECT body FROM records WHERE kind = ? AND id = ?"
"""One record."""

EVENTS: Final = "SELECT body FROM events WHERE seq >= ? AND seq < ? ORDER BY seq"
"""A range of the log, as hashed."""

SECRETS: Final = "SELECT name, value FROM secrets WHERE workload = ?"
"""The secret values of one workload."""

PURGE_IDEMPOTENCY: Final = """
DELETE FROM records INDEXED BY records_phase WHERE kind = 'idempotency' AND phase != '' AND phase < ?
"""
"""Forget idempotency keys that are older than anybody repeats a request."""


def list_records(query: Query) -> tuple[str, list[str | int]]:
    """Return the statement and its parameters for one page of `query`: bodies, ids descending.

    The index is named, as SQLite guesses wrong without statistics: the parent's, else the phase's or that of tenant and
    phase (one page of each phase, merged), else the tenant's, else that of live records, else the key. Literal terms
    such as `tenant != ''` are what admits a partial index.
    """
    where, values, index = ["kind = ?"], list[str | int]([query.kind]), ""
    if query.parent:
        where.append("parent = ? AND parent != ''")
        values.append(query.parent)
        index = "records_parent"
    if query.tenant:
        where.append("tenant = ? AND tenant != ''")
        values.append(query.tenant)
        index = index or "records_tenant"
    if query.before:
        where.append("id < ?")
        values.append(query.before)
    if query.live is not None:
        where.append(f"live = {int(query.live)}")
    if query.phases and not query.parent:
        return _merged(where, values, query)
    if query.phases:
        where.append(f"phase IN ({', '.join('?' * len(query.phases))})")
        values += query.phases
    elif query.live:
        index = index or "records_live"
    return _page("body", index, where), [*values, query.limit]


def _merged(where: list[str], values: list[str | int], query: Query) -> tuple[str, list[str | int]]:
    """One page of each phase from its own range of the index, and of those the newest."""
    phases = sorted(set(query.phases))
    index = "records_tenant_phase" if query.tenant else "records_phase"
    if len(phases) == 1:
        return _page("body", index, [*where, "phase = ? AND phase != ''"]), [*values, phases[0], query.limit]
    page = _page("id, body", index, [*where, "phase = ? AND phase != ''"])
    one = f"SELECT * FROM ({page})"  # noqa: S608 - of constants alone
    each = [value for phase in phases for value in (*values, phase, query.limit)]
    parts = " UNION ALL ".join([one] * len(phases))
    return f"SELECT body FROM ({parts}) ORDER BY id DESC LIMIT ?", [*each, query.limit]  # noqa: S608 - of constants alone


def _page(columns: str, index: str, where: list[str]) -> str:
    by = f"INDEXED BY {index}" if index else "NOT INDEXED"
    terms = " AND ".join(where)
    return f"SELECT {columns} FROM records {by} WHERE {terms} ORDER BY id DESC LIMIT ?"  # noqa: S608 - of constants alone
