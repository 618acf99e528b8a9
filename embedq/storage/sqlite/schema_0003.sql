-- For looking and acting: the dashboard's ground.

-- Ended jobs in the order in which they ended: lists of dead letters, of the latest successes. It costs the end of a job
-- about half a microsecond of ten.
CREATE INDEX embedq_jobs_finished ON embedq_jobs (state, finished_at) WHERE finished_at IS NOT NULL;

-- Failures of the last day. Only attempts that did not succeed are here, so only those pay for it.
CREATE INDEX embedq_attempts_finished ON embedq_attempts (finished_at);

-- Processor time of those jobs whose time is known.
ALTER TABLE embedq_counters ADD COLUMN cpu_us INTEGER NOT NULL DEFAULT 0;

-- What people did: the audit log. An action on many jobs keeps here how far it has come.
CREATE TABLE embedq_actions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- JSON: which jobs; NULL when it was not about jobs.
    search TEXT,
    -- JSON: what else was asked for.
    details TEXT NOT NULL,
    -- running, done, failed, stopped
    state TEXT NOT NULL,
    expected INTEGER,
    expected_capped INTEGER,
    changed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    -- Why the last of the skipped was left as it is.
    reason TEXT,
    error TEXT,
    process TEXT NOT NULL,
    -- The fencing token: it grows each time the action is taken up.
    run INTEGER NOT NULL DEFAULT 1,
    -- JSON: where it goes on.
    stands_at TEXT,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

-- What one process wants to know of another, and the answer. Rows live for seconds.
CREATE TABLE embedq_questions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    server_id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    -- JSON; NULL until it is answered.
    answer TEXT
) STRICT;
