-- The library: workflows kept for later, in folders, with tags and earlier versions.

CREATE TABLE library_workflows (
    workflow_id  TEXT PRIMARY KEY,
    -- '' is the top; names between '/'.
    folder       TEXT NOT NULL,
    name         TEXT NOT NULL,
    -- Hash of an artifact that shows what it makes.
    thumbnail    TEXT,
    -- What it is found by, in lower case: place, titles, classes, models, prompt texts.
    words        TEXT NOT NULL,
    UNIQUE (folder, name)
) STRICT;

CREATE TABLE library_tags (
    workflow_id  TEXT NOT NULL REFERENCES library_workflows (workflow_id) ON DELETE CASCADE,
    tag          TEXT NOT NULL,
    PRIMARY KEY (workflow_id, tag)
) STRICT;

CREATE TABLE library_versions (
    workflow_id  TEXT NOT NULL REFERENCES library_workflows (workflow_id) ON DELETE CASCADE,
    -- From 1; the highest is the present one.
    number       INTEGER NOT NULL,
    added_ms     INTEGER NOT NULL,
    hash         TEXT NOT NULL,
    -- The file byte for byte, compressed with zlib.
    packed       BLOB NOT NULL,
    PRIMARY KEY (workflow_id, number)
) STRICT;
