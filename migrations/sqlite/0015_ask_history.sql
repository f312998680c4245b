-- An ask stays readable after its end: who answered what, when and from where.
ALTER TABLE asks ADD COLUMN short TEXT NOT NULL DEFAULT '';     -- an id that a person can type
ALTER TABLE asks ADD COLUMN state INTEGER NOT NULL DEFAULT 0;   -- 0 to 2: it can be answered (open, claimed, deferred)
ALTER TABLE asks ADD COLUMN until_ms INTEGER;                   -- the end of a claim, or of a deferral
ALTER TABLE asks ADD COLUMN ended_ms INTEGER;
ALTER TABLE asks ADD COLUMN act TEXT;                           -- JSON: who claimed, deferred or answered it, and how
ALTER TABLE asks ADD COLUMN size INTEGER NOT NULL DEFAULT 0;    -- bytes of its texts
CREATE INDEX asks_ended ON asks (caller, id, agent, state, size) WHERE state > 2;
CREATE INDEX asks_by_short ON asks (short);
ALTER TABLE asks ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;   -- the decision was used by the process that asked again

-- What a person has allowed beyond one call. Each use is a conditional write.
CREATE TABLE grants (
    id         TEXT    PRIMARY KEY, -- that of the ask by whose answer it was given
    short      TEXT    NOT NULL,
    caller     TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    context_id TEXT,                -- NULL: each session of the caller with the agent
    pattern    TEXT    NOT NULL,    -- JSON: which calls, or which host
    words      TEXT    NOT NULL,    -- the same for people, as it was shown
    act        TEXT    NOT NULL,    -- JSON: who gave it, from where
    created_ms INTEGER NOT NULL,
    until_ms   INTEGER NOT NULL,
    uses       INTEGER NOT NULL,
    left       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX grants_by_caller ON grants (caller, agent, id);
