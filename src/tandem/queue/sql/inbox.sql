-- name: put
INSERT INTO inbox (
    account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, reply_to,
    timestamp, received_at, raw, seal, held
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: remember
INSERT INTO seen (digest, slot, arrived_at) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING;

-- name: find
SELECT slot, arrived_at FROM seen WHERE digest = ?;

-- name: undecryptable
INSERT INTO undecryptable (digest, account, chat, message_id, arrived_at, seal) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (digest) DO NOTHING;

-- name: recovered
DELETE FROM undecryptable WHERE digest = ?;

-- name: count_undecryptable
SELECT count(*) FROM undecryptable;

-- name: learn
INSERT INTO lids (account, lid, number, seal) VALUES (?, ?, ?, ?)
ON CONFLICT (account, lid) DO UPDATE SET number = excluded.number, seal = excluded.seal
WHERE number <> excluded.number;

-- name: number_of
SELECT number FROM lids WHERE account = ? AND lid = ?;

-- name: pending
SELECT
    inbox.seq, standings.status, standings.delivered_at, standings.read_at,
    inbox.account, inbox.chat, inbox.key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media,
    reply_to, timestamp, received_at, raw
FROM inbox LEFT JOIN standings ON from_me AND standings.account = inbox.account AND standings.key = inbox.key
WHERE held = 0 ORDER BY inbox.seq LIMIT ?;

-- name: take_out
DELETE FROM inbox WHERE seq = ?;

-- name: depth
SELECT count(*) FROM inbox;

-- name: oldest
SELECT received_at FROM inbox WHERE held = 0 ORDER BY seq LIMIT 1;

-- name: oldest_of_each
SELECT account, min(received_at) FROM inbox WHERE held = 0 GROUP BY account;

-- name: held_of_each
SELECT account, count(*) FROM inbox INDEXED BY inbox_held WHERE held = 1 GROUP BY account;

-- name: stretch
-- The end of the next stretch of keys to look through.
SELECT max(digest) FROM (SELECT digest FROM seen WHERE digest > ? ORDER BY digest LIMIT ?);

-- name: forget
DELETE FROM seen WHERE digest > ? AND digest <= ? AND arrived_at < ?;

-- name: forget_undecryptable
DELETE FROM undecryptable WHERE arrived_at < ?;
