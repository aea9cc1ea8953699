-- name: messages
SELECT count(*) FROM messages WHERE seal IS NOT seal(
    account, chat, key, message_id, sender, sender_name, recipient, from_me, kind, text, has_media, reply_to,
    timestamp, received_at, raw
);
