-- The schema of the version after 5f158e5.
CREATE TABLE tasks (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, caller TEXT NOT NULL, agent TEXT NOT NULL, context_id TEXT NOT NULL, session TEXT NOT NULL, alias TEXT, state INTEGER NOT NULL, status_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL, head INTEGER NOT NULL, bytes INTEGER NOT NULL , print BLOB);
CREATE TABLE events (key INTEGER PRIMARY KEY, kind INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE sessions (id TEXT PRIMARY KEY, caller TEXT NOT NULL, agent TEXT NOT NULL, context_id TEXT NOT NULL, conversation TEXT, ready INTEGER NOT NULL, created_ms INTEGER NOT NULL, used_ms INTEGER NOT NULL, UNIQUE (caller, agent, context_id)) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE push (key INTEGER PRIMARY KEY, n INTEGER NOT NULL, id TEXT NOT NULL, caller TEXT NOT NULL, agent TEXT NOT NULL, dialect TEXT NOT NULL, alias TEXT, config TEXT NOT NULL, sent INTEGER NOT NULL, failing_ms INTEGER, created_ms INTEGER NOT NULL, state INTEGER NOT NULL, reason TEXT, UNIQUE (n, id));
CREATE TABLE keys (caller TEXT NOT NULL, agent TEXT NOT NULL, key TEXT NOT NULL, print BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (caller, agent, key)) WITHOUT ROWID;
CREATE TABLE asks (id TEXT PRIMARY KEY, n INTEGER NOT NULL, task TEXT NOT NULL, caller TEXT NOT NULL, agent TEXT NOT NULL, context_id TEXT NOT NULL, ask TEXT NOT NULL, ends_turn INTEGER NOT NULL, created_ms INTEGER NOT NULL, deadline_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE usage (kind INTEGER NOT NULL, name TEXT NOT NULL, day INTEGER NOT NULL, cost INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (kind, name, day)) WITHOUT ROWID;
CREATE TABLE task_counts (caller TEXT NOT NULL, agent TEXT NOT NULL, state INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (caller, agent, state)) WITHOUT ROWID;
CREATE INDEX tasks_by_alias ON tasks (caller, agent, alias, n) WHERE alias IS NOT NULL;
CREATE INDEX push_active ON push (key) WHERE state = 0;
CREATE INDEX keys_by_task ON keys (n);
CREATE INDEX asks_by_task ON asks (n);
CREATE INDEX usage_by_day ON usage (day) WHERE day > 0;
CREATE INDEX tasks_by_context ON tasks (caller, agent, context_id, n);
CREATE INDEX sessions_by_use ON sessions (caller, agent, used_ms);
CREATE INDEX events_beside_artifacts ON events (key) WHERE kind != 2 AND key & 4294967295 > 256;
CREATE INDEX tasks_unfinished ON tasks (caller, agent, state, status_ms, n, context_id) WHERE state <= 2 OR state = 6 OR state = 8;
CREATE INDEX tasks_finished ON tasks (caller, agent, state, status_ms, n) WHERE state > 2 AND state != 6 AND state != 8;
PRAGMA user_version = 11;
-- Its writer counted finished tasks itself.
INSERT INTO task_counts VALUES ('owner', 'fake', 3, 3);
