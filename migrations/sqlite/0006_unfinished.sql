-- Sessions with tasks that wait, work or ask, which retention spares.
CREATE INDEX tasks_unfinished ON tasks (caller, agent, context_id) WHERE state IN (1, 2, 6, 8);
