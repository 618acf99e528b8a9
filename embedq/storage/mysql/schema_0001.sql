-- The first schema. Times are integers: microseconds since the epoch, UTC.
-- Every statement may run twice: a CREATE commits at once, so that a process that dies half-way leaves the first few.
-- {collation} compares texts byte for byte, and sees blanks at their end; the two servers call it by different names.

-- Neither server has partial indexes. The generated columns stand in for their conditions: they are NULL outside.
CREATE TABLE IF NOT EXISTS embedq_jobs (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    executor VARCHAR(16) NOT NULL,
    queue VARCHAR(255) NOT NULL,
    priority BIGINT NOT NULL,
    name VARCHAR(400) NOT NULL,
    -- JSON: [positional, by name].
    payload LONGTEXT NOT NULL,
    -- JSON: a pickled function with its source, or only the signature of an unregistered one. NULL for registered tasks.
    code LONGTEXT,
    -- JSON: what is rarely set (timeout, retry policy, retention, the middleware's own keys).
    options LONGTEXT,
    -- JSON: a list of strings.
    tags LONGTEXT,
    idempotency_key VARCHAR(255),
    parent_id BIGINT,
    `trigger` VARCHAR(16),
    schedule VARCHAR(255),
    created_at BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    expires_at BIGINT,
    first_started_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    delete_at BIGINT,
    attempt BIGINT NOT NULL DEFAULT 0,
    -- The fencing token: it grows with every claim and is matched by every finishing write.
    claim BIGINT NOT NULL DEFAULT 0,
    crashes BIGINT NOT NULL DEFAULT 0,
    server_id BIGINT,
    cancel_requested_at BIGINT,
    overdue_at BIGINT,
    -- What a process must have to run a parked job, for example: task shop.mail:send.
    needs VARCHAR(500),
    error LONGTEXT,
    result LONGTEXT,
    progress DOUBLE,
    progress_note LONGTEXT,
    -- How a job that has not ended is found, in one index for all: each further one would be paid at every change of
    -- state. Suspects, whose process died under them twice, are claimed one at a time.
    lane VARCHAR(32) AS (CASE
        WHEN state = 'ready' THEN IF(crashes < 2, 'ready', 'suspect')
        WHEN state = 'running' THEN CONCAT('running ', server_id)
        WHEN state IN ('awaiting', 'scheduled', 'retrying', 'parked') THEN state
    END) STORED,
    -- MariaDB before 10.8 has no descending indexes.
    urgency BIGINT AS (-priority) STORED,
    due_at BIGINT AS (CASE WHEN state IN ('scheduled', 'retrying') THEN run_at END) STORED,
    ended VARCHAR(16) AS (CASE WHEN delete_at IS NOT NULL THEN state END) STORED,
    INDEX embedq_jobs_lane (lane, executor, queue, urgency, id),
    INDEX embedq_jobs_due (due_at),
    INDEX embedq_jobs_parked (needs),
    INDEX embedq_jobs_ended (ended, delete_at),
    INDEX embedq_jobs_parent (parent_id),
    UNIQUE INDEX embedq_jobs_key (idempotency_key)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- Attempts that did not succeed. A success is in the job's own row: a third write per job would be paid by all for the
-- sake of few.
CREATE TABLE IF NOT EXISTS embedq_attempts (
    job_id BIGINT NOT NULL,
    claim BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    ending VARCHAR(16) NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    server_id BIGINT,
    error LONGTEXT,
    traceback LONGTEXT,
    PRIMARY KEY (job_id, claim)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS embedq_logs (
    job_id BIGINT NOT NULL,
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    message LONGTEXT NOT NULL,
    INDEX embedq_logs_job (job_id, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS embedq_schedules (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    -- JSON, as scheduling/schedule.py writes it.
    spec LONGTEXT NOT NULL,
    misfire LONGTEXT NOT NULL,
    task VARCHAR(400) NOT NULL,
    -- JSON: the job to insert at each occurrence.
    template LONGTEXT NOT NULL,
    -- The next occurrence.
    next_fire_at BIGINT NOT NULL,
    -- When its turn comes: next_fire_at, or later after a turn that failed, whose occurrences stay due.
    due_at BIGINT NOT NULL,
    last_fire_at BIGINT,
    last_job_id BIGINT,
    paused_at BIGINT,
    -- Why the last turn of this schedule could not fire; NULL when it could.
    error LONGTEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    INDEX embedq_schedules_due (due_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- The ledger. The primary key is what makes an occurrence be enqueued once across all processes.
CREATE TABLE IF NOT EXISTS embedq_occurrences (
    schedule VARCHAR(255) NOT NULL,
    fire_at BIGINT NOT NULL,
    -- enqueued, or passed: a run of occurrences up to last_fire_at that were not.
    outcome VARCHAR(16) NOT NULL,
    last_fire_at BIGINT NOT NULL,
    occurrences BIGINT NOT NULL,
    job_id BIGINT,
    reason LONGTEXT,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (schedule, fire_at),
    INDEX embedq_occurrences_recorded (recorded_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- Numbers are never given twice, so that neither a pruned job's nor a dead server's can be mistaken.
CREATE TABLE IF NOT EXISTS embedq_servers (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    uuid VARCHAR(36) NOT NULL UNIQUE,
    -- Processes with the same host see each other's lock files.
    host VARCHAR(255) NOT NULL,
    hostname VARCHAR(255) NOT NULL,
    pid BIGINT NOT NULL,
    version VARCHAR(64) NOT NULL,
    workers BIGINT NOT NULL,
    -- JSON: a list, or null for all.
    queues LONGTEXT,
    started_at BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    stopping_at BIGINT
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS embedq_leases (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    holder BIGINT NOT NULL,
    term BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- Written in the transaction that finishes the jobs, one row a batch, so that pages of totals never count rows.
CREATE TABLE IF NOT EXISTS embedq_counters (
    minute BIGINT NOT NULL,
    name VARCHAR(400) NOT NULL,
    queue VARCHAR(255) NOT NULL,
    ending VARCHAR(16) NOT NULL,
    jobs BIGINT NOT NULL,
    ran_us BIGINT NOT NULL,
    waited_us BIGINT NOT NULL,
    -- Each connection counts in a row of its own: in a common one, every process would wait for the flush of the others.
    backend BIGINT NOT NULL,
    PRIMARY KEY (minute, name, queue, ending, backend)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- Names this database, however it is reached, so that the processes of one host agree on a folder for their locks.
CREATE TABLE IF NOT EXISTS embedq_identity (
    one TINYINT NOT NULL PRIMARY KEY,
    id VARCHAR(36) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};
INSERT IGNORE INTO embedq_identity VALUES (1, UUID());

-- The number of each process's latest transaction, written as a part of it: whether a commit happened whose answer was
-- lost is read here. (Neither server tells what became of a transaction by its own number.)
CREATE TABLE IF NOT EXISTS embedq_commits (
    writer VARCHAR(36) NOT NULL PRIMARY KEY,
    mark BIGINT NOT NULL,
    -- Of the process's first commit, in seconds.
    since BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};
