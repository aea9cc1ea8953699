-- How far own messages have come, as receipts tell it, and whether the store has been told. The chat is empty while only
-- receipts have come and not the message itself. Times of delivery and reading in Unix milliseconds.
CREATE TABLE standings (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    chat TEXT NOT NULL,
    status INTEGER NOT NULL,
    delivered_at INTEGER,
    read_at INTEGER,
    stored INTEGER NOT NULL,
    untold INTEGER NOT NULL,
    created_at REAL NOT NULL,
    seal INTEGER NOT NULL,
    UNIQUE (account, key)
);
CREATE INDEX standings_untold ON standings (seq) WHERE stored = 1 AND untold = 1;
CREATE INDEX standings_unclaimed ON standings (seq) WHERE chat = '';
CREATE INDEX standings_age ON standings (created_at);
