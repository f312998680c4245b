-- Webhooks of tasks. A row is the config and how far its events have been delivered; it goes with its task.
-- `config` holds the caller's secrets as they were given: the database is its owner's alone (0600).
CREATE TABLE push (
    key        INTEGER PRIMARY KEY, -- in the order of their creation
    n          INTEGER NOT NULL,    -- the task
    id         TEXT    NOT NULL,    -- unique within its task
    caller     TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    dialect    TEXT    NOT NULL,    -- of its registration: 0.1, 0.3, 1.0
    alias      TEXT,                -- the task's id as a v0.1 client made it
    config     TEXT    NOT NULL,    -- JSON of A2A v1.0
    sent       INTEGER NOT NULL,    -- sequence number of the last event that was delivered
    failing_ms INTEGER,             -- when the event after it was first tried, if it was not taken
    created_ms INTEGER NOT NULL,
    state      INTEGER NOT NULL,    -- 0 active, 1 done, 2 given up
    reason     TEXT,                -- why it was given up
    UNIQUE (n, id)
);
CREATE INDEX push_active ON push (key) WHERE state = 0;
