-- The next message to send, without a look at the rows of chats that have to wait.
CREATE INDEX outbox_order ON outbox (account, seq, chat, expires_at) WHERE state = 'queued';
-- Whether there is a conversation already.
CREATE INDEX outbox_conversed ON outbox (account, chat) WHERE state IN ('sent', 'delivered', 'read');
