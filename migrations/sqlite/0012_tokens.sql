-- Tokens that were made while the server ran. The token itself is known to its caller alone.
CREATE TABLE tokens (
    id         TEXT    PRIMARY KEY,
    hash       BLOB    NOT NULL UNIQUE, -- SHA-256 of the token
    caller     TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,        -- words, with spaces between them
    agents     TEXT    NOT NULL,        -- names as a list in JSON; empty for all
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER
) WITHOUT ROWID;
