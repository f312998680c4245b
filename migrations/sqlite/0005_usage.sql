-- What turns have used, summed up four ways. A task's and a session's sum go with it; those of a day stay
-- for a while, whatever becomes of their tasks. Days are counted from 1970-01-01 UTC.
CREATE TABLE usage (
    kind   INTEGER NOT NULL,    -- 0 task, 1 session, 2 caller on a day, 3 everybody on a day
    name   TEXT    NOT NULL,    -- the task's number, the session's id, the caller's name, nothing
    day    INTEGER NOT NULL,    -- 0 for tasks and sessions
    cost   INTEGER NOT NULL,    -- millionths of a US dollar
    tokens INTEGER NOT NULL,
    PRIMARY KEY (kind, name, day)
) WITHOUT ROWID;
CREATE INDEX usage_by_day ON usage (day) WHERE day > 0;
