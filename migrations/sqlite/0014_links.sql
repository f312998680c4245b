-- Links in notifications, each of which answers one ask once. The link itself is known to whoever was notified alone.
CREATE TABLE links (
    hash       BLOB    PRIMARY KEY, -- SHA-256 of the link's secret
    ask        TEXT    NOT NULL,
    caller     TEXT    NOT NULL,    -- whose task asks
    agent      TEXT    NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms    INTEGER
) WITHOUT ROWID;
