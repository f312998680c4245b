-- Questions of agents that a person has to answer; one that is answered, withdrawn or void is no more.
CREATE TABLE asks (
    id          TEXT    PRIMARY KEY,
    n           INTEGER NOT NULL,   -- the task
    task        TEXT    NOT NULL,
    caller      TEXT    NOT NULL,
    agent       TEXT    NOT NULL,
    context_id  TEXT    NOT NULL,
    ask         TEXT    NOT NULL,   -- JSON: kind, tool, input, text, options
    ends_turn   INTEGER NOT NULL,   -- the next message is the answer, as it is
    created_ms  INTEGER NOT NULL,
    deadline_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX asks_by_task ON asks (n);
