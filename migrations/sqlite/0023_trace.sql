-- What spans of a task need beside its events: under which trace a message came, when a process was given up while its
-- task asked, when the conversation went on, which calls of a model a turn made.
CREATE TABLE trace (
    n       INTEGER NOT NULL,       -- the task
    at_ms   INTEGER NOT NULL,
    note    TEXT    NOT NULL        -- as JSON
);
CREATE INDEX trace_by_task ON trace (n);
