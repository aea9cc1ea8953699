-- Since when a slot is linked: it cannot have seen what was sent before. Outside the seal, for rows that are older have it
-- too; 0 there: long ago.
ALTER TABLE slots ADD COLUMN linked_since REAL NOT NULL DEFAULT 0;
