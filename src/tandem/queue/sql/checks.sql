-- name: accounts
SELECT count(*) FROM accounts WHERE seal IS NOT seal(id, number, name, created_at);

-- name: slots
SELECT count(*) FROM slots WHERE seal IS NOT seal(account, slot, device, state, reason, since, until);

-- name: inbox
SELECT count(*) FROM inbox WHERE seal IS NOT seal(
    account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, reply_to,
    timestamp, received_at, raw
);

-- name: lids
SELECT count(*) FROM lids WHERE seal IS NOT seal(account, lid, number);

-- name: dead_letters
SELECT count(*) FROM dead_letters WHERE seal IS NOT seal(
    kind, reason, account, slot, code, payload, arrived_at, created_at
);

-- name: outbox
SELECT count(*) FROM outbox WHERE seal IS NOT seal(id, account, chat, text, secret, created_at, expires_at);

-- name: secrets
SELECT count(*) FROM secrets WHERE seal IS NOT seal(name, value);
