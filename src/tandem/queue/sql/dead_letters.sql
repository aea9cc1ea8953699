-- name: bury
INSERT INTO dead_letters (kind, reason, account, slot, code, payload, arrived_at, created_at, seal)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: list
SELECT id, kind, reason, account, slot, code, payload, arrived_at, created_at FROM dead_letters
WHERE id > ? ORDER BY id LIMIT ?;

-- name: get
SELECT id, kind, reason, account, slot, code, payload, arrived_at, created_at FROM dead_letters WHERE id = ?;

-- name: drop
DELETE FROM dead_letters WHERE id = ?;

-- name: count
SELECT count(*) FROM dead_letters;
