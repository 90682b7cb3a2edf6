-- What ComfyUI's own page made of a version that was saved from there: the prompt, compressed with zlib.

ALTER TABLE library_versions ADD COLUMN packed_prompt BLOB;

CREATE INDEX library_versions_by_hash ON library_versions (hash);
