-- The events of messages that came in unreadable, and the dead letter each became when nobody could read it in time (0:
-- not yet).
CREATE TABLE unread (
    digest BLOB PRIMARY KEY,
    slot TEXT NOT NULL,
    code INTEGER NOT NULL,
    payload BLOB NOT NULL,
    letter INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
