-- name: create_message
INSERT INTO messages (
    account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, reply_to,
    timestamp, received_at, raw, seal, status, delivered_at, read_at, stored_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, chat, key) DO NOTHING;

-- name: advance
-- The status only grows, and of two times the earlier one counts.
UPDATE messages SET
    status = max(status, ?1),
    delivered_at = coalesce(min(delivered_at, ?2), delivered_at, ?2),
    read_at = coalesce(min(read_at, ?3), read_at, ?3)
WHERE account = ?4 AND chat = ?5 AND key = ?6;

-- name: touch_chat
INSERT INTO chats (account, chat, name, last_message, last_message_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account, chat) DO UPDATE SET
    name = CASE
        WHEN excluded.name <> '' AND (name = '' OR excluded.last_message_at >= last_message_at) THEN excluded.name
        ELSE name
    END,
    last_message = CASE
        WHEN excluded.last_message_at >= last_message_at THEN excluded.last_message
        ELSE last_message
    END,
    last_message_at = max(last_message_at, excluded.last_message_at);

-- name: account
SELECT id, number, name, created_at FROM accounts WHERE id = ?;

-- name: save_account
INSERT INTO accounts (id, number, name, created_at) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, number = excluded.number;

-- name: save_event
INSERT INTO events (
    id, type, account, slot, generation, reason, message, data, timestamp, expires_at, instance, correlation
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING;

-- name: forget_events
DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE expires_at < ? ORDER BY expires_at LIMIT 20);

-- name: chats
SELECT chat, name, last_message, last_message_at FROM chats
WHERE account = ? ORDER BY last_message_at DESC, chat LIMIT ?;

-- name: messages
SELECT
    account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, reply_to,
    timestamp, received_at, raw, status, delivered_at, read_at, stored_at
FROM messages
WHERE account = :account AND chat = :chat AND timestamp < :before
ORDER BY timestamp DESC, seq DESC LIMIT :limit;

-- name: messages_before
SELECT
    account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, reply_to,
    timestamp, received_at, raw, status, delivered_at, read_at, stored_at
FROM messages
WHERE account = :account AND chat = :chat AND (timestamp, seq) < (
    SELECT timestamp, seq FROM messages WHERE account = :account AND chat = :chat AND key = :key
)
ORDER BY timestamp DESC, seq DESC LIMIT :limit;

-- name: find
-- The keys of a message id stand side by side in the index.
SELECT
    account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, reply_to,
    timestamp, received_at, raw, status, delivered_at, read_at, stored_at
FROM messages
WHERE account = :account AND chat = :chat AND key > :low AND key < :high AND message_id = :message_id
LIMIT 10;

-- name: present
SELECT 1 FROM messages WHERE account = ? AND chat = ? AND key = ?;

-- name: events
SELECT id, type, message, timestamp, account, slot, generation, reason, data, instance, correlation FROM events
WHERE expires_at > :now AND (:type IS NULL OR type = :type) AND (:account IS NULL OR account = :account)
ORDER BY seq DESC LIMIT :limit;

-- name: save_report
INSERT INTO reports (day, report) VALUES (?, ?) ON CONFLICT (day) DO NOTHING;

-- name: report
SELECT report FROM reports WHERE day = ?;
