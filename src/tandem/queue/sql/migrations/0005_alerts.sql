-- Alerts that fire, or were told of a moment ago: a restart must not tell them again, nor forget to tell that they are over.
CREATE TABLE alerts (
    key TEXT PRIMARY KEY,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    words TEXT NOT NULL,
    phase TEXT NOT NULL,
    since REAL NOT NULL,
    gone_since REAL,
    told_at REAL,
    announced INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
