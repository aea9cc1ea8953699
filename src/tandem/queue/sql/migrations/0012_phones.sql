-- When the phone of an account was last seen, by what, and of how many days' absence people were told since.
CREATE TABLE phones (
    account TEXT PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    proof TEXT NOT NULL CHECK (proof IN ('none', 'linked', 'message', 'receipt')),
    told INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
