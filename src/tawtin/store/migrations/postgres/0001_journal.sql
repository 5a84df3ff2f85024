-- The log: one row an entry, `body` being the canonical bytes that `leaf` is the RFC 9162 hash of.
CREATE TABLE events (
    seq bigint PRIMARY KEY,
    at_ms bigint NOT NULL,
    kind text NOT NULL,
    leaf bytea NOT NULL,
    body bytea NOT NULL
);

-- State: the newest form of each record. Ids sort by their bytes, whatever the database's language is.
CREATE TABLE records (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    phase text COLLATE "C" NOT NULL,
    parent text COLLATE "C" NOT NULL,
    live boolean NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE INDEX records_live ON records (kind, id) WHERE live;
CREATE INDEX records_tenant ON records (kind, tenant, id, phase) WHERE tenant <> '';
CREATE INDEX records_phase ON records (kind, phase, id) WHERE phase <> '';
CREATE INDEX records_parent ON records (kind, parent, id) WHERE parent <> '';

-- The log's Merkle tree, as far as appending needs it.
CREATE TABLE chain (
    one integer PRIMARY KEY CHECK (one = 1),
    size bigint NOT NULL,
    frontier bytea NOT NULL,
    root bytea NOT NULL,
    writer text NOT NULL DEFAULT ''  -- drawn by each control plane that opens the journal, so that the one before notices
);

-- Values that never enter the log, until their workload is final.
CREATE TABLE secrets (
    workload text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (workload, name)
);

INSERT INTO chain (one, size, frontier, root)
VALUES (1, 0, '', '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
