-- name: accounts
SELECT id, number, name, created_at FROM accounts ORDER BY created_at, id;

-- name: slots
SELECT account, slot, device, state, reason, since, until, release, linked_since FROM slots ORDER BY account, slot DESC;

-- name: save_account
INSERT INTO accounts (id, number, name, created_at, seal) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, created_at = excluded.created_at, seal = excluded.seal;

-- name: save_slot
INSERT INTO slots (account, slot, device, state, reason, since, until, seal, release, linked_since)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?)
ON CONFLICT (account, slot) DO UPDATE SET
    device = excluded.device, state = excluded.state, reason = excluded.reason, since = excluded.since,
    until = excluded.until, seal = excluded.seal, release = excluded.release,
    linked_since = excluded.linked_since;

-- name: remove_account
DELETE FROM accounts WHERE id = ?;
