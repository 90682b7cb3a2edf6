-- Which files of the artifact store are named by what: their reference counts. A file that nothing names may be removed.

-- By the log of a run; written with the events that name them.
CREATE TABLE run_files (
    run_id  TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    hash    TEXT NOT NULL,
    PRIMARY KEY (run_id, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_files_by_hash ON run_files (hash);

-- By a kept result.
CREATE TABLE cache_files (
    key   TEXT NOT NULL REFERENCES cache (key) ON DELETE CASCADE,
    hash  TEXT NOT NULL,
    PRIMARY KEY (key, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX cache_files_by_hash ON cache_files (hash);
CREATE INDEX workflow_pictures_by_artifact ON workflow_pictures (artifact);

-- What was written before: every text of 64 signs may be a hash. Too many names keep a file too long, too few would lose it.
INSERT OR IGNORE INTO run_files (run_id, hash)
SELECT events.run_id, part.atom
FROM events, json_tree(CASE WHEN json_valid(events.body) THEN events.body ELSE 'null' END) AS part
WHERE part.type = 'text' AND length(part.atom) = 64;

INSERT OR IGNORE INTO cache_files (key, hash)
SELECT cache.key, part.atom
FROM cache, json_tree(CASE WHEN json_valid(cache.outputs) THEN cache.outputs ELSE 'null' END) AS part
WHERE part.type = 'text' AND length(part.atom) = 64;
