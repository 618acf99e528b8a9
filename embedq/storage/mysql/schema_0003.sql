-- For looking and acting: the dashboard's ground. A column or index that is there already, from a run that was cut
-- short, is left as it is.

-- Ended jobs in the order in which they ended: lists of dead letters, of the latest successes.
ALTER TABLE embedq_jobs ADD INDEX embedq_jobs_finished (ended, finished_at);

-- Failures of the last day. Only attempts that did not succeed are here, so only those pay for it.
ALTER TABLE embedq_attempts ADD INDEX embedq_attempts_finished (finished_at);

-- Processor time of those jobs whose time is known.
ALTER TABLE embedq_counters ADD COLUMN cpu_us BIGINT NOT NULL DEFAULT 0;

-- What people did: the audit log. An action on many jobs keeps here how far it has come.
CREATE TABLE IF NOT EXISTS embedq_actions (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor LONGTEXT NOT NULL,
    verb VARCHAR(255) NOT NULL,
    subject LONGTEXT NOT NULL,
    -- JSON: which jobs; NULL when it was not about jobs.
    search LONGTEXT,
    -- JSON: what else was asked for.
    details LONGTEXT NOT NULL,
    -- running, done, failed, stopped
    state VARCHAR(16) NOT NULL,
    expected BIGINT,
    expected_capped BIGINT,
    changed BIGINT NOT NULL DEFAULT 0,
    skipped BIGINT NOT NULL DEFAULT 0,
    -- Why the last of the skipped was left as it is.
    reason LONGTEXT,
    error LONGTEXT,
    process VARCHAR(255) NOT NULL,
    -- The fencing token: it grows each time the action is taken up.
    run BIGINT NOT NULL DEFAULT 1,
    -- JSON: where it goes on.
    stands_at LONGTEXT,
    updated_at BIGINT NOT NULL,
    finished_at BIGINT
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- What one process wants to know of another, and the answer. Rows live for seconds.
CREATE TABLE IF NOT EXISTS embedq_questions (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    server_id BIGINT NOT NULL,
    job_id BIGINT NOT NULL,
    asked_at BIGINT NOT NULL,
    -- JSON; NULL until it is answered.
    answer LONGTEXT
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};
