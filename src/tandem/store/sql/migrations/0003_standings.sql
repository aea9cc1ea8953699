-- How far each message has come (0 received, 1 sent, 2 delivered, 3 read, 4 played), and when; Unix milliseconds.
ALTER TABLE messages ADD COLUMN status INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN delivered_at INTEGER;
ALTER TABLE messages ADD COLUMN read_at INTEGER;
UPDATE messages SET status = from_me;
