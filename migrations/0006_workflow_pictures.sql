-- The last picture that each workflow made, for the library.

CREATE TABLE run_workflows (
    run_id    TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    -- An output of a Workflow node of the run's project.
    port_id   TEXT NOT NULL,
    -- Hash of the node's workflow file.
    workflow  TEXT NOT NULL,
    PRIMARY KEY (run_id, port_id)
) STRICT;

-- Outlives its run. A workflow file is known by its content alone, in whichever project and library it lies.
CREATE TABLE workflow_pictures (
    workflow  TEXT PRIMARY KEY,
    artifact  TEXT NOT NULL,
    made_ms   INTEGER NOT NULL
) STRICT;
