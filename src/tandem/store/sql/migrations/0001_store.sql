-- Messages, in the order they came in. A copy is known by account, chat and key.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    chat TEXT NOT NULL,
    key TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    sender_name TEXT NOT NULL,
    recipient TEXT NOT NULL,
    from_me INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    has_media INTEGER NOT NULL,
    reply_to TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    raw BLOB NOT NULL,
    seal INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    UNIQUE (account, chat, key)
);
CREATE INDEX messages_by_time ON messages (account, chat, timestamp, seq);

CREATE TABLE chats (
    account TEXT NOT NULL,
    chat TEXT NOT NULL,
    name TEXT NOT NULL,
    last_message TEXT NOT NULL,
    last_message_at INTEGER NOT NULL,
    PRIMARY KEY (account, chat)
) WITHOUT ROWID;
CREATE INDEX chats_by_time ON chats (account, last_message_at);

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    number TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    account TEXT,
    slot TEXT,
    generation INTEGER NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    timestamp REAL NOT NULL,
    expires_at REAL NOT NULL
);
CREATE INDEX events_by_expiry ON events (expires_at);
