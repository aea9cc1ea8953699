-- name: find
SELECT seq, account, key, chat, status, delivered_at, read_at, stored, untold, created_at, changed_at FROM standings
WHERE account = ? AND key = ?;

-- name: add
INSERT INTO standings (
    account, key, chat, status, delivered_at, read_at, stored, untold, created_at, changed_at, seal
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: save
UPDATE standings SET
    account = ?, key = ?, chat = ?, status = ?, delivered_at = ?, read_at = ?, stored = ?, untold = ?, created_at = ?,
    changed_at = ?, seal = ?
WHERE seq = ?;

-- name: untold
SELECT seq, account, key, chat, status, delivered_at, read_at, stored, untold, created_at, changed_at
FROM standings INDEXED BY standings_untold
WHERE stored = 1 AND untold = 1 AND account NOT IN (SELECT value FROM json_each(:elsewhere))
ORDER BY seq LIMIT :limit;

-- name: untold_of
SELECT seq, account, key, chat, status, delivered_at, read_at, stored, untold, created_at, changed_at
FROM standings INDEXED BY standings_untold
WHERE stored = 1 AND untold = 1 AND account = ? AND changed_at < ? ORDER BY seq LIMIT ?;

-- name: is_untold
SELECT EXISTS (SELECT 1 FROM standings INDEXED BY standings_untold WHERE stored = 1 AND untold = 1 AND account = ?);

-- name: count_untold
SELECT count(*) FROM standings WHERE stored = 1 AND untold = 1;

-- name: forget_unclaimed
DELETE FROM standings WHERE chat = '' AND (
    created_at < ? OR seq <= (SELECT seq FROM standings WHERE chat = '' ORDER BY seq DESC LIMIT 1 OFFSET ?)
);

-- name: forget
DELETE FROM standings WHERE seq IN (
    SELECT seq FROM standings WHERE created_at < ? AND NOT (stored = 1 AND untold = 1) ORDER BY created_at LIMIT ?
);
