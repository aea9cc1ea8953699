-- Which daemon told an event, and the request that caused it.
ALTER TABLE events ADD COLUMN instance TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN correlation TEXT NOT NULL DEFAULT '';
