-- Whether a picture of the library names a file is asked for every file.
CREATE INDEX library_workflows_by_thumbnail ON library_workflows (thumbnail);

-- What programs last said of what was to come in runs that have ended or are gone.
DELETE FROM settings WHERE key GLOB 'outlook.*' AND substr(key, 9) NOT IN
    (SELECT run_id FROM runs WHERE state IN ('running', 'paused', 'cancelling', 'stopping'));
