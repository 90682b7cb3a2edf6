-- Servers that a run was started with and that are not registered, so that it can go on without naming them again: a JSON
-- list of configurations; secrets are references, never the secrets.
ALTER TABLE runs ADD COLUMN backends TEXT NOT NULL DEFAULT '[]';
