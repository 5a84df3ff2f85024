-- The log: one row an entry, `body` being the canonical bytes that `leaf` is the RFC 9162 hash of.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    leaf BLOB NOT NULL,
    body BLOB NOT NULL
);

-- State: the newest form of each record.
CREATE TABLE records (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    phase TEXT NOT NULL,
    parent TEXT NOT NULL,
    live INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

CREATE INDEX records_live ON records (kind, id) WHERE live = 1;
CREATE INDEX records_tenant ON records (kind, tenant, id, phase) WHERE tenant != '';
CREATE INDEX records_phase ON records (kind, phase, id) WHERE phase != '';
CREATE INDEX records_parent ON records (kind, parent, id) WHERE parent != '';

-- The log's Merkle tree, as far as appending needs it.
CREATE TABLE chain (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    frontier BLOB NOT NULL,
    root BLOB NOT NULL
);

-- Values that never enter the log, until their workload is final.
CREATE TABLE secrets (
    workload TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (workload, name)
) WITHOUT ROWID;

INSERT INTO chain (one, size, frontier, root)
VALUES (1, 0, x'', x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
