-- name: endpoints
SELECT name, kind FROM endpoints ORDER BY name;

-- name: add_endpoint
INSERT INTO endpoints (name, kind, seal) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING;

-- name: remove_endpoint
DELETE FROM endpoints WHERE name = ?;

-- name: put
INSERT INTO deliveries (id, endpoint, lane, account, payload, created_at, attempts, next_at, seal)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: due
-- The oldest of each lane, if its time has come: the lanes are found by stepping through the index from one to the next.
WITH RECURSIVE lanes (lane) AS (
    SELECT min(lane) FROM deliveries WHERE endpoint = :endpoint
    UNION ALL
    SELECT (SELECT min(deliveries.lane) FROM deliveries WHERE endpoint = :endpoint AND deliveries.lane > lanes.lane)
    FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT seq, id, endpoint, deliveries.lane, account, payload, created_at, attempts, next_at
FROM lanes CROSS JOIN deliveries ON deliveries.seq = (
    SELECT min(seq) FROM deliveries WHERE endpoint = :endpoint AND lane = lanes.lane
)
WHERE lanes.lane IS NOT NULL AND next_at <= :now
ORDER BY seq LIMIT :limit;

-- name: next_time
WITH RECURSIVE lanes (lane) AS (
    SELECT min(lane) FROM deliveries WHERE endpoint = :endpoint
    UNION ALL
    SELECT (SELECT min(deliveries.lane) FROM deliveries WHERE endpoint = :endpoint AND deliveries.lane > lanes.lane)
    FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT min(next_at) FROM lanes CROSS JOIN deliveries ON deliveries.seq = (
    SELECT min(seq) FROM deliveries WHERE endpoint = :endpoint AND lane = lanes.lane
) WHERE lanes.lane IS NOT NULL AND next_at > :now;

-- name: get
SELECT seq, id, endpoint, lane, account, payload, created_at, attempts, next_at FROM deliveries WHERE seq = ?;

-- name: postpone
UPDATE deliveries SET attempts = ?, next_at = ?, seal = ? WHERE seq = ?;

-- name: remove
DELETE FROM deliveries WHERE seq = ?;

-- name: oldest
SELECT seq, id, endpoint, lane, account, payload, created_at, attempts, next_at FROM deliveries
WHERE endpoint = ? ORDER BY seq LIMIT ?;

-- name: too_old
SELECT seq, id, endpoint, lane, account, payload, created_at, attempts, next_at FROM deliveries
WHERE endpoint = ? AND created_at < ? ORDER BY seq LIMIT ?;

-- name: backlogs
SELECT endpoint, count(*), min(created_at) FROM deliveries GROUP BY endpoint;

-- name: backlog
SELECT count(*) FROM deliveries WHERE endpoint = ?;
