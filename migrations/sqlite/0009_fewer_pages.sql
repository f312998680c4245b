-- A turn writes fewer pages. An index over all states is written twice for each task, at its beginning and at its
-- end, on pages that lie apart; one over the few tasks that are not finished and one over the others are not. What
-- the first one holds is counted by looking.
DROP INDEX tasks_open;
DROP INDEX tasks_unfinished;
DROP INDEX tasks_by_state;
CREATE INDEX tasks_unfinished ON tasks (caller, agent, state, status_ms, n, context_id)
    WHERE state IN (1, 2, 6, 8);
CREATE INDEX tasks_finished ON tasks (caller, agent, state, status_ms, n) WHERE state NOT IN (1, 2, 6, 8);

DROP TRIGGER task_made;
DROP TRIGGER task_moved;
DROP TRIGGER task_removed;
DELETE FROM task_counts WHERE state IN (1, 2, 6, 8);
CREATE TRIGGER task_made AFTER INSERT ON tasks WHEN new.state NOT IN (1, 2, 6, 8) BEGIN
    INSERT INTO task_counts VALUES (new.caller, new.agent, new.state, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER task_finished AFTER UPDATE OF state ON tasks
    WHEN new.state != old.state AND new.state NOT IN (1, 2, 6, 8) BEGIN
    INSERT INTO task_counts VALUES (new.caller, new.agent, new.state, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER task_reopened AFTER UPDATE OF state ON tasks
    WHEN new.state != old.state AND old.state NOT IN (1, 2, 6, 8) BEGIN
    UPDATE task_counts SET count = count - 1
        WHERE caller = old.caller AND agent = old.agent AND state = old.state;
END;
CREATE TRIGGER task_removed AFTER DELETE ON tasks WHEN old.state NOT IN (1, 2, 6, 8) BEGIN
    UPDATE task_counts SET count = count - 1
        WHERE caller = old.caller AND agent = old.agent AND state = old.state;
END;

-- Looking at the first events of a task costs less than an index of them for every task.
DROP INDEX events_beside_artifacts;
CREATE INDEX events_beside_artifacts ON events (key) WHERE kind != 2 AND key & 4294967295 > 256;
