-- name: save
INSERT INTO outages (account, began, cause, ended, recovered, finished, seal)
SELECT ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?)
ON CONFLICT (account, began) DO UPDATE SET
    cause = excluded.cause, ended = excluded.ended, recovered = excluded.recovered, finished = excluded.finished,
    seal = excluded.seal;

-- name: observe
INSERT INTO observations (began, ended, stopped, seal) VALUES (?, ?, ?, ?)
ON CONFLICT (began) DO UPDATE SET ended = excluded.ended, stopped = excluded.stopped, seal = excluded.seal;

-- name: recent
SELECT account, began, cause, ended, recovered, finished FROM outages
WHERE account = ? ORDER BY began DESC LIMIT ?;

-- name: between
SELECT account, began, cause, ended, recovered, finished FROM outages
WHERE account = ? AND began < ? AND (ended IS NULL OR ended > ?) ORDER BY began;

-- name: observations
SELECT began, ended, stopped FROM observations WHERE began < ? AND ended > ? ORDER BY began;

-- name: last_observation
SELECT began, ended, stopped FROM observations ORDER BY ended DESC LIMIT 1;

-- name: forget_outages
DELETE FROM outages WHERE ended < ?;

-- name: forget_observations
DELETE FROM observations WHERE ended < ?;
