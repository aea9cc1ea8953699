-- Of several instances that receive an account's messages only the one that runs it writes them; the others hold their
-- copies back (1). Outside the seal, for rows that are older have it too: the index gives a damaged one away. Only what is
-- held back is in it, so that it costs nothing where nothing is.
ALTER TABLE inbox ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));
CREATE INDEX inbox_held ON inbox (seq, account, received_at) WHERE held = 1;

-- When a receipt last changed a standing, in Unix seconds; 0: before this was noted. Outside the seal for the same reason.
ALTER TABLE standings ADD COLUMN changed_at REAL NOT NULL DEFAULT 0;
DROP INDEX standings_untold;
CREATE INDEX standings_untold ON standings (seq, account) WHERE stored = 1 AND untold = 1;
