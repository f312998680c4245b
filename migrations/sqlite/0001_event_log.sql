-- A task and its events. `n` is our own short number of a task; an event's key is (n << 32 | seq),
-- so that a task's events lie side by side and an append goes to the end of the tree.
CREATE TABLE tasks (
    n          INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    caller     TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    context_id TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    alias      TEXT,                -- the id that a v0.1 client made
    state      INTEGER NOT NULL,    -- number of the specification's TaskState
    status_ms  INTEGER NOT NULL,    -- status timestamp
    created_ms INTEGER NOT NULL,
    head       INTEGER NOT NULL,    -- last sequence number
    bytes      INTEGER NOT NULL     -- of its events
);
CREATE INDEX tasks_by_status ON tasks (caller, agent, status_ms, n);
CREATE INDEX tasks_open ON tasks (state) WHERE state IN (1, 2);
CREATE INDEX tasks_by_alias ON tasks (caller, agent, alias, n) WHERE alias IS NOT NULL;

CREATE TABLE events (
    key  INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,          -- 0 task, 1 status, 2 artifact, 3 message for the history
    body BLOB    NOT NULL           -- JSON of A2A v1.0
);

CREATE TABLE sessions (
    id           TEXT    PRIMARY KEY,
    caller       TEXT    NOT NULL,
    agent        TEXT    NOT NULL,
    context_id   TEXT    NOT NULL,
    conversation TEXT,              -- the CLI's own id
    ready        INTEGER NOT NULL,  -- whether its folder is set up and its script has run
    created_ms   INTEGER NOT NULL,
    used_ms      INTEGER NOT NULL,  -- to the minute
    UNIQUE (caller, agent, context_id)
) WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
