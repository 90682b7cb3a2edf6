-- What another program asks of the one that works on a run: commands as JSON, in order.

CREATE TABLE wishes (
    wish_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id   TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    command  TEXT NOT NULL
) STRICT;
