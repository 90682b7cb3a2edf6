-- What every backend that was ever seen said of its node classes, so that workflows can be read and converted while none of
-- them answers. Backends that say the same share one body.

DROP TABLE object_info;

CREATE TABLE object_info (
    backend_id  TEXT PRIMARY KEY,
    -- Its address, as a person reads it.
    server      TEXT NOT NULL,
    -- When it last said so.
    seen_ms     INTEGER NOT NULL,
    -- Hash of the body.
    hash        TEXT NOT NULL
) STRICT;

CREATE TABLE object_info_bodies (
    hash        TEXT PRIMARY KEY,
    -- The body of GET /object_info, compressed with zlib.
    packed      BLOB NOT NULL
) STRICT;
