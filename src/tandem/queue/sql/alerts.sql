-- name: load
SELECT key, rule, subject, words, phase, since, gone_since, told_at, announced FROM alerts;

-- name: clear
DELETE FROM alerts;

-- name: save
INSERT INTO alerts (key, rule, subject, words, phase, since, gone_since, told_at, announced, seal)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
