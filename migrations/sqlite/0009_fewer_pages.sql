-- A turn writes fewer pages. An index over all states is written twice for each task, at its beginning and at its
-- end, on pages that lie apart; one over the few tasks that are not finished and one over the others are not. What
-- the first one holds is counted by looking. Their conditions are comparisons, because SQLite makes a table of its own
-- of a list, for each row that is written.
DROP INDEX tasks_open;
DROP INDEX tasks_unfinished;
DROP INDEX tasks_by_state;
CREATE INDEX tasks_unfinished ON tasks (caller, agent, state, status_ms, n, context_id)
    WHERE state <= 2 OR state = 6 OR state = 8;
CREATE INDEX tasks_finished ON tasks (caller, agent, state, status_ms, n)
    WHERE state > 2 AND state != 6 AND state != 8;

-- The writer counts finished tasks itself, once for each group of batches: a statement with a trigger keeps a journal
-- of its own.
DROP TRIGGER task_made;
DROP TRIGGER task_moved;
DROP TRIGGER task_removed;
DELETE FROM task_counts WHERE state <= 2 OR state = 6 OR state = 8;

-- Looking at the first events of a task costs less than an index of them for every task.
DROP INDEX events_beside_artifacts;
CREATE INDEX events_beside_artifacts ON events (key) WHERE kind != 2 AND key & 4294967295 > 256;
