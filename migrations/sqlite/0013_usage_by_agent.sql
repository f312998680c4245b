-- What turns have used, by day, caller and agent, for reports. Days are counted from 1970-01-01 UTC.
CREATE TABLE usage_by_agent (
    day    INTEGER NOT NULL,
    caller TEXT    NOT NULL,
    agent  TEXT    NOT NULL,
    turns  INTEGER NOT NULL,
    cost   INTEGER NOT NULL,    -- millionths of a US dollar
    tokens INTEGER NOT NULL,
    PRIMARY KEY (day, caller, agent)
) WITHOUT ROWID;
