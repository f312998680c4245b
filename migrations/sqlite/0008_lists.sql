-- Lists of tasks read as much as they show, however many tasks there are. One index serves those of a state
-- and, merged over all states, those of every state; the other one those of a context.
DROP INDEX tasks_by_status;
CREATE INDEX tasks_by_state ON tasks (caller, agent, state, status_ms, n);
CREATE INDEX tasks_by_context ON tasks (caller, agent, context_id, n);
CREATE INDEX sessions_by_use ON sessions (caller, agent, used_ms);

-- How many tasks there are, for the total beside a page.
CREATE TABLE task_counts (
    caller TEXT    NOT NULL,
    agent  TEXT    NOT NULL,
    state  INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (caller, agent, state)
) WITHOUT ROWID;
INSERT INTO task_counts SELECT caller, agent, state, count(*) FROM tasks GROUP BY 1, 2, 3;

CREATE TRIGGER task_made AFTER INSERT ON tasks BEGIN
    INSERT INTO task_counts VALUES (new.caller, new.agent, new.state, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER task_moved AFTER UPDATE OF state ON tasks WHEN new.state != old.state BEGIN
    UPDATE task_counts SET count = count - 1
        WHERE caller = old.caller AND agent = old.agent AND state = old.state;
    INSERT INTO task_counts VALUES (new.caller, new.agent, new.state, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER task_removed AFTER DELETE ON tasks BEGIN
    UPDATE task_counts SET count = count - 1
        WHERE caller = old.caller AND agent = old.agent AND state = old.state;
END;
