-- What happened on each day of the report's time zone, so that a restart in the middle of a day costs its report nothing.
CREATE TABLE day_figures (
    day TEXT NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    value REAL NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (day, account, name)
) WITHOUT ROWID;
