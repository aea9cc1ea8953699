-- name: due
-- Those of the accounts that were received at the latest when the caller says, in the order of their arrival.
WITH latest AS MATERIALIZED (SELECT key AS account, value AS at FROM json_each(:latest))
SELECT seq, account, chat, inbox.key, received_at FROM inbox INDEXED BY inbox_held JOIN latest USING (account)
WHERE held = 1 AND received_at <= at AND seq > :after ORDER BY seq LIMIT :limit;

-- name: message
SELECT
    standings.status, standings.delivered_at, standings.read_at,
    inbox.account, inbox.chat, inbox.key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media,
    reply_to, timestamp, received_at, raw
FROM inbox LEFT JOIN standings ON from_me AND standings.account = inbox.account AND standings.key = inbox.key
WHERE inbox.seq = ? AND held = 1;

-- name: drop
DELETE FROM inbox WHERE seq = ?;

-- name: release
UPDATE inbox SET held = 0 WHERE seq = ?;

-- name: other_names
SELECT lid, number FROM lids WHERE account = :account AND :user IN (lid, number);
