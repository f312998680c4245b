-- A reader who is shown no further artifacts skips them without looking at each: a task may have 300,000.
CREATE INDEX events_beside_artifacts ON events (key) WHERE kind != 2;
