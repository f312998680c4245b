-- What a send said, so that the same message sent again is known while its task waits or runs, over a crash too.
ALTER TABLE tasks ADD COLUMN print BLOB; -- SHA-256 of a send without `Idempotency-Key`
