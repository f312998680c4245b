-- `Idempotency-Key` of a send: what it said and the task that it made; it goes with its task.
CREATE TABLE keys (
    caller TEXT    NOT NULL,
    agent  TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    print  BLOB    NOT NULL,    -- SHA-256 of what was sent
    n      INTEGER NOT NULL,    -- the task
    PRIMARY KEY (caller, agent, key)
) WITHOUT ROWID;
CREATE INDEX keys_by_task ON keys (n);
