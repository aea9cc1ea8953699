-- name: read
SELECT value FROM day_figures WHERE day = ? AND account = ? AND name = ?;

-- name: write
INSERT INTO day_figures (day, account, name, value, seal) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (day, account, name) DO UPDATE SET value = excluded.value, seal = excluded.seal;

-- name: of_day
SELECT account, name, value FROM day_figures WHERE day = ?;

-- name: days
SELECT DISTINCT day FROM day_figures ORDER BY day;

-- name: forget
DELETE FROM day_figures WHERE day < ?;
