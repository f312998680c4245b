-- What a session was set up with when it began, so that a changed set-up is for new sessions.
ALTER TABLE sessions ADD COLUMN setup TEXT; -- the revision; none where its agent had no set-up
