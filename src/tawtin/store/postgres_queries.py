"""Every statement that the PostgreSQL journal runs, each with what it is for."""

from __future__ import annotations

from typing import Final, LiteralString

from tawtin.ports import Query

APPEND_EVENTS: Final = """
INSERT INTO events (seq, at_ms, kind, leaf, body)
SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::bytea[], %b::bytea[])
"""
"""Add entries to the log. A sequence number that is taken is an error."""

PUT_RECORDS: Final = """
INSERT INTO records (kind, id, tenant, phase, parent, live, body)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::boolean[], %b::bytea[])
ON CONFLICT (kind, id) DO UPDATE SET tenant = excluded.tenant, phase = excluded.phase,
parent = excluded.parent, live = excluded.live, body = excluded.body
"""
"""Write the newest form of records, no key twice."""

DELETE_RECORDS: Final = """
DELETE FROM records USING unnest(%b::text[], %b::text[]) AS gone (kind, id)
WHERE records.kind = gone.kind AND records.id = gone.id
"""
"""Remove records."""

KEEP_VALUES: Final = """
INSERT INTO secrets (workload, name, value) SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[])
ON CONFLICT (workload, name) DO UPDATE SET value = excluded.value
"""
"""Keep secret values of workloads."""

DROP_SECRETS: Final = "DELETE FROM secrets WHERE workload = ANY(%b::text[])"
"""Delete all secret values of workloads."""

SET_CHAIN: Final = """
UPDATE chain SET size = CASE WHEN size = %b THEN %b::bigint END, frontier = %b, root = %b WHERE one = 1
"""
"""Move the head of the log; fails, by an empty size, if the log is not where this process left it."""

GET_CHAIN: Final = (
    "SELECT size, frontier, root, (SELECT coalesce(max(seq) + 1, 0) FROM events) FROM chain WHERE one = 1"
)
"""The head of the log, what appending needs, and how long the log is by its last entry."""

CLAIM: Final = "UPDATE chain SET writer = %s WHERE one = 1"
"""Leave a mark, drawn for this opening, so that an earlier writer that comes back notices."""

GET_WRITER: Final = "SELECT writer FROM chain WHERE one = 1"
"""The mark of the last opening."""

LIVE_RECORDS: Final = """
SELECT id, tenant, phase, parent, body FROM records WHERE live AND kind = %s ORDER BY id
"""
"""The records of one kind that are loaded into memory at start."""

GET_RECORD: Final = "SELECT body FROM records WHERE kind = %s AND id = %s"
"""One record."""

EVENTS: Final = "SELECT body FROM events WHERE seq >= %s AND seq < %s ORDER BY seq"
"""A range of the log, as hashed."""

SECRETS: Final = "SELECT name, value FROM secrets WHERE workload = %s"
"""The secret values of one workload."""

PURGE_IDEMPOTENCY: Final = "DELETE FROM records WHERE kind = 'idempotency' AND phase <> '' AND phase < %s"
"""Forget idempotency keys that are older than anybody repeats a request."""

LOCK: Final = """
SELECT pg_try_advisory_lock(hashtextextended('tawtin journal in ' || current_schema(), 0))
"""
"""Become the only writer of this schema, for as long as the session lives."""

HOLDER: Final = """
SELECT a.pid, coalesce(host(a.client_addr), 'this machine') FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('tawtin journal in ' || current_schema(), 0)
"""
"""Who is the writer now."""

SETTLE: Final = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""Wait for the disk at each commit, also where the server's default is not to."""

HAS_SCHEMA: Final = "SELECT to_regclass('schema') IS NOT NULL"
"""Whether any migration was applied."""

MAKE_SCHEMA: Final = "CREATE TABLE schema (version integer PRIMARY KEY, name text NOT NULL)"
"""The table that records migrations."""

GET_VERSION: Final = "SELECT coalesce(max(version), 0) FROM schema"
"""The last migration that was applied."""

SET_VERSION: Final = "INSERT INTO schema (version, name) VALUES (%s, %s)"
"""Record a migration."""


def list_records(query: Query) -> tuple[LiteralString, list[str | int | bool | list[str]]]:
    """Return the statement and its parameters for one page of `query`: bodies, ids descending.

    Literal terms such as `tenant <> ''` admit a partial index.
    """
    where: list[LiteralString] = ["kind = %s"]
    values: list[str | int | bool | list[str]] = [query.kind]
    if query.tenant:
        where.append("tenant = %s AND tenant <> ''")
        values.append(query.tenant)
    if query.parent:
        where.append("parent = %s AND parent <> ''")
        values.append(query.parent)
    if query.phases:
        where.append("phase = ANY(%s) AND phase <> ''")
        values.append(list(query.phases))
    if query.live is not None:
        where.append("live" if query.live else "NOT live")
    if query.before:
        where.append("id < %s")
        values.append(query.before)
    values.append(query.limit)
    order: LiteralString = " ORDER BY id DESC LIMIT %s"
    return "SELECT body FROM records WHERE " + " AND ".join(where) + order, values  # noqa: S608 - of constants alone
