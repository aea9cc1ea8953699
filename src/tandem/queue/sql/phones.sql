-- name: save
INSERT INTO phones (account, at, proof, told, seal)
SELECT ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?)
ON CONFLICT (account) DO UPDATE SET
    at = excluded.at, proof = excluded.proof, told = excluded.told, seal = excluded.seal;

-- name: load
SELECT account, at, proof, told FROM phones;
