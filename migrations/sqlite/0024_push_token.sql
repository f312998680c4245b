-- The token by which a webhook was registered: its name and a mark of it, never itself. The webhook ends with it.
ALTER TABLE push ADD COLUMN token TEXT; -- none where an earlier version has registered it
