-- What a session's workspace is a checkout of: JSON with repository, base, baseBranch and branch.
ALTER TABLE sessions ADD COLUMN checkout TEXT;
