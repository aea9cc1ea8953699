-- Messages accepted for sending, of every kind: content in a versioned form, what to do if the fate stays unknown, and
-- a time for every state. A row that was damaged keeps a seal that fits nothing.
CREATE TABLE outbox_2 (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    chat TEXT NOT NULL,
    content TEXT NOT NULL,
    if_unknown TEXT NOT NULL CHECK (if_unknown IN ('resend', 'park')),
    secret BLOB NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('queued', 'sending', 'sent', 'delivered', 'read', 'unknown', 'expired', 'failed', 'cancelled')
    ),
    reason TEXT NOT NULL,
    updated_at REAL NOT NULL,
    sent_at REAL NOT NULL,
    delivered_at REAL NOT NULL,
    read_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    message_id TEXT NOT NULL,
    slot TEXT CHECK (slot IN ('primary', 'backup')),
    attempts INTEGER NOT NULL,
    seal INTEGER NOT NULL
);

INSERT INTO outbox_2
SELECT
    seq, id, account, chat, json_object('v', 1, 'kind', 'text', 'text', text), 'resend', secret, created_at,
    expires_at, state, reason, updated_at,
    iif(state = 'sent', updated_at, 0.0), iif(state = 'delivered', updated_at, 0.0),
    iif(state = 'read', updated_at, 0.0), iif(state IN ('expired', 'failed'), updated_at, 0.0),
    message_id, slot, attempts,
    iif(
        seal IS seal(
            id, account, chat, text, secret, created_at, expires_at, state, reason, updated_at, message_id, slot,
            attempts
        ),
        0, -1
    )
FROM outbox ORDER BY seq;

UPDATE outbox_2 SET seal = seal(
    id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts
) WHERE seal = 0;

DROP TABLE outbox;
ALTER TABLE outbox_2 RENAME TO outbox;
CREATE INDEX outbox_queued ON outbox (account, chat, seq) WHERE state = 'queued';
CREATE INDEX outbox_open ON outbox (account, chat, state) WHERE state IN ('sending', 'unknown');
CREATE INDEX outbox_expiry ON outbox (expires_at) WHERE state = 'queued';
CREATE INDEX outbox_message ON outbox (account, message_id) WHERE message_id <> '';
CREATE INDEX outbox_account ON outbox (account, seq);
