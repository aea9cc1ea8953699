-- name: keep
INSERT INTO unread (digest, slot, code, payload, letter, seal) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (digest) DO NOTHING;

-- name: take
DELETE FROM unread WHERE digest = ? RETURNING letter;

-- name: due
SELECT digest, account, arrived_at, slot, code, payload FROM undecryptable JOIN unread USING (digest)
WHERE letter = 0 AND arrived_at < ? ORDER BY arrived_at LIMIT ?;

-- name: buried
UPDATE unread SET letter = ?, seal = ? WHERE digest = ?;

-- name: forget
DELETE FROM unread WHERE digest NOT IN (SELECT digest FROM undecryptable);

-- name: waits
SELECT 1 FROM undecryptable JOIN unread USING (digest) WHERE digest = ? AND letter = 0;
