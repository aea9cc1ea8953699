-- Accounts and what is remembered of their slots.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    number TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE slots (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    slot TEXT NOT NULL CHECK (slot IN ('primary', 'backup')),
    device TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account, slot)
) WITHOUT ROWID;

-- Messages on their way to the store. A row leaves when it was written there.
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
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
    seal INTEGER NOT NULL
);

-- Keys of messages that came in, so that later copies are known: digest of account and key, slot of the first copy
-- (0: none, it was sent from here), its arrival in Unix milliseconds. Millions of rows, so without a seal: a key that
-- was damaged only lets a late copy through to the store, which has the message and takes it for what it is.
CREATE TABLE seen (
    digest BLOB PRIMARY KEY,
    slot INTEGER NOT NULL,
    arrived_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Messages that came in unreadable and that nobody has delivered readable yet.
CREATE TABLE undecryptable (
    digest BLOB PRIMARY KEY,
    account TEXT NOT NULL,
    chat TEXT NOT NULL,
    message_id TEXT NOT NULL,
    arrived_at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;

-- The two names of one person: user part of the LID, user part of the phone-number address.
CREATE TABLE lids (
    account TEXT NOT NULL,
    lid TEXT NOT NULL,
    number TEXT NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account, lid)
) WITHOUT ROWID;

-- What can never be processed, kept for a person to look at.
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('event', 'message')),
    reason TEXT NOT NULL,
    account TEXT NOT NULL,
    slot TEXT NOT NULL,
    code INTEGER NOT NULL,
    payload BLOB NOT NULL,
    arrived_at REAL NOT NULL,
    created_at REAL NOT NULL,
    seal INTEGER NOT NULL
);

-- Messages accepted for sending.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    chat TEXT NOT NULL,
    text TEXT NOT NULL,
    secret BLOB NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('queued', 'sending', 'sent', 'delivered', 'read', 'unknown', 'expired', 'failed')
    ),
    reason TEXT NOT NULL,
    updated_at REAL NOT NULL,
    message_id TEXT NOT NULL,
    slot TEXT CHECK (slot IN ('primary', 'backup')),
    attempts INTEGER NOT NULL,
    seal INTEGER NOT NULL
);
CREATE INDEX outbox_queued ON outbox (account, chat, seq) WHERE state = 'queued';
CREATE INDEX outbox_open ON outbox (account, chat, state) WHERE state IN ('sending', 'unknown');
CREATE INDEX outbox_expiry ON outbox (expires_at) WHERE state = 'queued';
CREATE INDEX outbox_message ON outbox (account, message_id) WHERE message_id <> '';

CREATE TABLE idempotency (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    outbox_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);

-- Receipts of own messages that no outbox row knows yet: the row may learn its message id a moment later.
CREATE TABLE early_receipts (
    account TEXT NOT NULL,
    message_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('delivered', 'read')),
    created_at REAL NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account, message_id)
) WITHOUT ROWID;
CREATE INDEX early_receipts_age ON early_receipts (created_at);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
