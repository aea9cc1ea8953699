-- The outbox as the working copy of one that several instances share. shared: 0, there is no document of the row; 1, both
-- say the same; more: how often the row has moved since. foreign_since: since when this instance answers for a send whose
-- fate is unknown and that another one made; foreign_attempts: attempts that this device directory's key stores do not
-- know. Outside the seal, for rows that are older have them too.
ALTER TABLE outbox ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN foreign_since REAL NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN foreign_attempts INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outbox_moved ON outbox (seq) WHERE shared > 1;

-- Echoes of own messages that no row here knows: another instance may have sent them, and its row come here later.
CREATE TABLE early_echoes (
    account TEXT NOT NULL,
    secret BLOB NOT NULL,
    message_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account, secret)
) WITHOUT ROWID;
CREATE INDEX early_echoes_age ON early_echoes (created_at);
