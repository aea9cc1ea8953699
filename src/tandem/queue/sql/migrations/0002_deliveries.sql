-- Who is to be told of what happens: one row an endpoint, named without its secrets.
CREATE TABLE endpoints (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;

-- What is on its way to an endpoint. Those of one endpoint and one lane go one after the other.
CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    lane TEXT NOT NULL,
    account TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    next_at REAL NOT NULL,
    seal INTEGER NOT NULL
);
CREATE INDEX deliveries_order ON deliveries (endpoint, lane, seq);
CREATE INDEX deliveries_age ON deliveries (endpoint, seq, created_at);

-- Deliveries can die, too.
CREATE TABLE dead_letters_now (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('event', 'message', 'delivery')),
    reason TEXT NOT NULL,
    account TEXT NOT NULL,
    slot TEXT NOT NULL,
    code INTEGER NOT NULL,
    payload BLOB NOT NULL,
    arrived_at REAL NOT NULL,
    created_at REAL NOT NULL,
    seal INTEGER NOT NULL
);
INSERT INTO dead_letters_now SELECT * FROM dead_letters;
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'dead_letters')
WHERE name = 'dead_letters_now' AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'dead_letters');
INSERT INTO sqlite_sequence (name, seq)
SELECT 'dead_letters_now', seq FROM sqlite_sequence
WHERE name = 'dead_letters' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'dead_letters_now');
DROP TABLE dead_letters;
ALTER TABLE dead_letters_now RENAME TO dead_letters;
