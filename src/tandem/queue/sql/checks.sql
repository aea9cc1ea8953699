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
SELECT count(*) FROM outbox WHERE seal IS NOT seal(
    id, account, chat, content, if_unknown, secret, created_at, expires_at, state, reason, updated_at, sent_at,
    delivered_at, read_at, ended_at, message_id, slot, attempts
);

-- name: undecryptable
SELECT count(*) FROM undecryptable WHERE seal IS NOT seal(digest, account, chat, message_id, arrived_at);

-- name: idempotency
SELECT count(*) FROM idempotency WHERE seal IS NOT seal(account, key, body, outbox_id, created_at);

-- name: early_receipts
SELECT count(*) FROM early_receipts WHERE seal IS NOT seal(account, message_id, state, created_at);

-- name: early_echoes
SELECT count(*) FROM early_echoes WHERE seal IS NOT seal(account, secret, message_id, created_at);

-- name: secrets
SELECT count(*) FROM secrets WHERE seal IS NOT seal(name, value);

-- name: endpoints
SELECT count(*) FROM endpoints WHERE seal IS NOT seal(name, kind);

-- name: deliveries
SELECT count(*) FROM deliveries WHERE seal IS NOT seal(
    id, endpoint, lane, account, payload, created_at, attempts, next_at
);

-- name: outages
SELECT count(*) FROM outages WHERE seal IS NOT seal(account, began, cause, ended, recovered, finished);

-- name: observations
SELECT count(*) FROM observations WHERE seal IS NOT seal(began, ended, stopped);

-- name: alerts
SELECT count(*) FROM alerts WHERE seal IS NOT seal(
    key, rule, subject, words, phase, since, gone_since, told_at, announced
);

-- name: standings
SELECT count(*) FROM standings WHERE seal IS NOT seal(
    account, key, chat, status, delivered_at, read_at, stored, untold, created_at
);

-- name: unread
SELECT count(*) FROM unread WHERE seal IS NOT seal(digest, slot, code, payload, letter);

-- name: day_figures
SELECT count(*) FROM day_figures WHERE seal IS NOT seal(day, account, name, value);

-- name: phones
SELECT count(*) FROM phones WHERE seal IS NOT seal(account, at, proof, told);
