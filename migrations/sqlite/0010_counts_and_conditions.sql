-- The conditions of indexes are comparisons: of a list, SQLite makes a table of its own for each row that is written.
DROP INDEX tasks_unfinished;
DROP INDEX tasks_finished;
CREATE INDEX tasks_unfinished ON tasks (caller, agent, state, status_ms, n, context_id)
    WHERE state <= 2 OR state = 6 OR state = 8;
CREATE INDEX tasks_finished ON tasks (caller, agent, state, status_ms, n)
    WHERE state > 2 AND state != 6 AND state != 8;

-- The writer counts finished tasks itself, once for each group of batches: a statement with a trigger keeps a journal
-- of its own.
DROP TRIGGER IF EXISTS task_made;
DROP TRIGGER IF EXISTS task_finished;
DROP TRIGGER IF EXISTS task_reopened;
DROP TRIGGER IF EXISTS task_removed;
