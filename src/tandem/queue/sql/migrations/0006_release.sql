-- The library's release at the time a slot was saved: one that WhatsApp refuses stays refused until it changes. Outside
-- the seal, for rows that are older have it too: damage to it costs one login.
ALTER TABLE slots ADD COLUMN release TEXT NOT NULL DEFAULT '';
