-- What turns have left beside their answers: patches, and files that are larger than an event. They stay as long as
-- their task, whatever becomes of the folder. A later turn of the task replaces what has the same name.
CREATE TABLE results (
    n       INTEGER NOT NULL,       -- the task
    name    TEXT    NOT NULL,       -- `turn.patch`, `base.patch`, or `files/` and a path
    session TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    body    BLOB                    -- none where it was larger than is kept
);
CREATE UNIQUE INDEX results_by_task ON results (n, name);
CREATE INDEX results_by_session ON results (session, name, at_ms);
