-- How large the files of a cached result are together, so that the least recently used can be forgotten by size.

ALTER TABLE cache ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
