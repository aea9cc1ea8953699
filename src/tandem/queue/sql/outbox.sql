-- name: accept
INSERT INTO outbox (
    id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts, foreign_since, foreign_attempts, seal, shared
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: columns
SELECT
    id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts, foreign_since, foreign_attempts
FROM outbox;

-- name: page
SELECT
    seq, id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts, foreign_since, foreign_attempts
FROM outbox
WHERE (:account IS NULL OR account = :account) AND (:state IS NULL OR state = :state)
AND (:chat IS NULL OR chat = :chat) AND (:before IS NULL OR seq < :before)
ORDER BY seq DESC LIMIT :limit;

-- name: backlog
SELECT count(*) FROM outbox WHERE account = ? AND state = 'queued';

-- name: counts
SELECT state, count(*) FROM outbox GROUP BY state;

-- name: oldest
SELECT min(created_at) FROM outbox WHERE state = 'queued';

-- name: sendable
-- The oldest queued message, chats left out as a whole: those the caller names, and those in which an earlier message
-- is under way or its fate still open. So it is its chat's oldest as well, and what is skipped costs an index entry.
WHERE account = :account AND state = 'queued' AND expires_at > :now
AND chat NOT IN (SELECT value FROM json_each(:busy))
AND chat NOT IN (
    SELECT chat FROM outbox INDEXED BY outbox_open
    WHERE account = :account AND state IN ('sending', 'unknown')
    AND (state = 'sending' OR updated_at > :settled_before)
)
ORDER BY seq LIMIT 1;

-- name: conversed
SELECT
    EXISTS (SELECT 1 FROM lids WHERE account = :account AND :user IN (lid, number))
    OR EXISTS (
        SELECT 1 FROM outbox WHERE account = :account AND chat = :chat AND state IN ('sent', 'delivered', 'read')
    );

-- name: save
UPDATE outbox SET
    content = ?, expires_at = ?, state = ?, reason = ?, updated_at = ?, sent_at = ?, delivered_at = ?, read_at = ?, ended_at = ?,
    message_id = ?, slot = ?, attempts = ?, foreign_since = ?, foreign_attempts = ?, seal = ?,
    shared = shared + (shared > 0)
WHERE id = ?;

-- name: find_key
SELECT outbox_id, body FROM idempotency WHERE account = ? AND key = ?;

-- name: remember_key
INSERT INTO idempotency (account, key, body, outbox_id, created_at, seal) VALUES (?, ?, ?, ?, ?, ?);

-- name: forget_keys
DELETE FROM idempotency WHERE created_at < ?;

-- name: remember_receipt
INSERT INTO early_receipts (account, message_id, state, created_at, seal) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account, message_id) DO UPDATE SET
    state = excluded.state, created_at = excluded.created_at, seal = excluded.seal
WHERE early_receipts.state = 'delivered';

-- name: take_receipt
DELETE FROM early_receipts WHERE account = ? AND message_id = ? RETURNING state;

-- name: forget_receipts
DELETE FROM early_receipts WHERE created_at < ?;

-- name: remember_echo
INSERT INTO early_echoes (account, secret, message_id, created_at, seal) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account, secret) DO NOTHING;

-- name: take_echo
DELETE FROM early_echoes WHERE account = ? AND secret = ? RETURNING message_id;

-- name: forget_echoes
DELETE FROM early_echoes WHERE created_at < max(
    :before, coalesce((SELECT created_at FROM early_echoes ORDER BY created_at DESC LIMIT 1 OFFSET :most), 0)
);

-- name: forget_rows
DELETE FROM outbox WHERE state NOT IN ('queued', 'sending') AND updated_at < ?;

-- name: secret
SELECT value FROM secrets WHERE name = ?;

-- name: save_secret
INSERT INTO secrets (name, value, seal) VALUES (?, ?, ?);

-- name: number
SELECT number FROM accounts WHERE id = ?;

-- name: find_waiting
SELECT sender, from_me, text FROM (
    SELECT account, chat, message_id, sender, from_me, text FROM inbox ORDER BY seq DESC LIMIT 10000
) WHERE account = :account AND chat = :chat AND message_id = :message_id;

-- name: waiting
SELECT id, created_at, expires_at FROM outbox WHERE state IN ('queued', 'sending') ORDER BY seq;

-- name: kept_row
SELECT
    shared, id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts, foreign_since, foreign_attempts
FROM outbox WHERE id = ?;

-- name: open_rows
SELECT
    shared, id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts, foreign_since, foreign_attempts
FROM outbox WHERE account = ? AND state IN ('queued', 'sending', 'unknown') ORDER BY seq;

-- name: moved_rows
SELECT
    seq, shared, id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts, foreign_since, foreign_attempts
FROM outbox INDEXED BY outbox_moved WHERE shared > 1 AND seq > ? ORDER BY seq LIMIT ?;

-- name: set_mark
UPDATE outbox SET shared = ? WHERE id = ?;

-- name: in_step
UPDATE outbox SET shared = 1 WHERE id = ? AND shared = ?;

-- name: has_moved
UPDATE outbox SET shared = max(shared, 1) + 1 WHERE id = ?;

-- name: has_document
UPDATE outbox SET shared = 1 WHERE id = ? AND shared = 0;

-- name: forgettable
SELECT id FROM outbox WHERE (:account IS NULL OR account = :account) AND shared > 0 AND state IN ('queued', 'sending', 'unknown')
AND (NOT :idle OR (shared = 1 AND state = 'queued'));

-- name: key_of
SELECT key, body FROM idempotency WHERE outbox_id = ?;

-- name: forget_key
DELETE FROM idempotency WHERE outbox_id = ?;

-- name: forget_row
DELETE FROM outbox WHERE id = ?;
