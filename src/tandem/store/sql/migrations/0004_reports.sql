-- One report a day, as a JSON object.
CREATE TABLE reports (
    day TEXT PRIMARY KEY,
    report TEXT NOT NULL
) WITHOUT ROWID;
