-- Times in which no slot of an account was online; ended is null while it lasts.
CREATE TABLE outages (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    began REAL NOT NULL,
    cause TEXT NOT NULL,
    ended REAL,
    recovered INTEGER,
    finished INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account, began)
) WITHOUT ROWID;

-- Times in which an instance was running, each up to its last sign of life.
CREATE TABLE observations (
    began REAL PRIMARY KEY,
    ended REAL NOT NULL,
    stopped INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
