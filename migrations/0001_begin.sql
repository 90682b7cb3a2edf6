-- The database of one installation: runs and their events, what was made, and settings.
-- Ids are UUIDs in text form, times are Unix milliseconds, JSON is text.

CREATE TABLE runs (
    run_id      TEXT PRIMARY KEY,
    project_id  TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    state       TEXT NOT NULL,
    -- Where the run writes and reads.
    folders     TEXT NOT NULL,
    -- Sequence number of the next event; what keeps the log free of gaps and duplicates.
    next_seq    INTEGER NOT NULL DEFAULT 0,
    -- The program instance that works on the run; its lock file tells whether it lives.
    owner       TEXT NOT NULL,
    -- The project as it was when the run started, in its portable form. Last, so that lists do not read through it.
    snapshot    TEXT NOT NULL
) STRICT;

CREATE INDEX runs_by_time ON runs (created_ms);

CREATE TABLE events (
    run_id  TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;

CREATE TABLE artifacts (
    hash        TEXT PRIMARY KEY,
    byte_len    INTEGER NOT NULL,
    extension   TEXT NOT NULL,
    data_type   TEXT NOT NULL,
    measures    TEXT NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT;

-- Results of items by what determined them. used_ms orders what is forgotten first.
CREATE TABLE cache (
    key         TEXT PRIMARY KEY,
    outputs     TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    used_ms     INTEGER NOT NULL
) STRICT;

CREATE INDEX cache_by_use ON cache (used_ms);

CREATE TABLE backends (
    backend_id  TEXT PRIMARY KEY,
    -- Order in which a person sees them.
    position    INTEGER NOT NULL,
    -- Configuration; secrets are references, never the secrets.
    config      TEXT NOT NULL
) STRICT;

-- The id under which this installation speaks to a backend; outlives the backend's registration.
CREATE TABLE client_ids (
    backend_id  TEXT PRIMARY KEY,
    client_id   TEXT NOT NULL
) STRICT;

-- What a backend last said about its node classes.
CREATE TABLE object_info (
    backend_id  TEXT PRIMARY KEY,
    seen_ms     INTEGER NOT NULL,
    json        TEXT NOT NULL
) STRICT;

CREATE TABLE settings (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT;
