-- The first schema. Times are integers: microseconds since the epoch, UTC.
-- STRICT: a column that says INTEGER never holds text, on this database as on the server ones.

CREATE TABLE embedq_jobs (
    -- A pruned job's id is never given to another, so an old handle cannot mean a new job: pruning always leaves the
    -- newest row. AUTOINCREMENT would do it at the price of one more page in every commit, a fifth of an enqueue.
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    executor TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    name TEXT NOT NULL,
    -- JSON: [positional, by name].
    payload TEXT NOT NULL,
    -- JSON: a pickled function with its source, or only the signature of an unregistered one. NULL for registered tasks.
    code TEXT,
    -- JSON: what is rarely set (timeout, retry policy, retention, the middleware's own keys).
    options TEXT,
    -- JSON: a list of strings.
    tags TEXT,
    idempotency_key TEXT,
    parent_id INTEGER,
    trigger TEXT,
    schedule TEXT,
    created_at INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    expires_at INTEGER,
    first_started_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    delete_at INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    -- The fencing token: it grows with every claim and is matched by every finishing write.
    claim INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    server_id INTEGER,
    cancel_requested_at INTEGER,
    overdue_at INTEGER,
    -- What a process must have to run a parked job, for example: task shop.mail:send.
    needs TEXT,
    error TEXT,
    result TEXT,
    progress REAL,
    progress_note TEXT
) STRICT;

-- Every index is partial: a job is in one or two of them at a time, and the ones the claim reads hold only live rows,
-- so a claim costs the same beside a million finished jobs.
CREATE INDEX embedq_jobs_ready ON embedq_jobs (executor, queue, priority DESC, id) WHERE state = 'ready' AND crashes < 2;
-- Jobs whose process died under them twice: claimed one at a time, so that they take nobody along.
CREATE INDEX embedq_jobs_suspect ON embedq_jobs (executor, queue, id) WHERE state = 'ready' AND crashes >= 2;
CREATE INDEX embedq_jobs_due ON embedq_jobs (run_at) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX embedq_jobs_running ON embedq_jobs (server_id) WHERE state = 'running';
CREATE INDEX embedq_jobs_cancelling ON embedq_jobs (server_id) WHERE state = 'running' AND cancel_requested_at IS NOT NULL;
CREATE INDEX embedq_jobs_parked ON embedq_jobs (needs, id) WHERE state = 'parked';
CREATE INDEX embedq_jobs_ended ON embedq_jobs (state, delete_at) WHERE delete_at IS NOT NULL;
CREATE INDEX embedq_jobs_awaiting ON embedq_jobs (parent_id) WHERE state = 'awaiting';
CREATE INDEX embedq_jobs_children ON embedq_jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX embedq_jobs_key ON embedq_jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Attempts that did not succeed. A success is in the job's own row: a third write per job would be paid by all for the
-- sake of few.
CREATE TABLE embedq_attempts (
    job_id INTEGER NOT NULL,
    claim INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    ending TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    server_id INTEGER,
    error TEXT,
    traceback TEXT,
    PRIMARY KEY (job_id, claim)
) STRICT, WITHOUT ROWID;

CREATE TABLE embedq_logs (
    job_id INTEGER NOT NULL,
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    message TEXT NOT NULL
) STRICT;
CREATE INDEX embedq_logs_job ON embedq_logs (job_id, id);

CREATE TABLE embedq_schedules (
    name TEXT PRIMARY KEY,
    -- JSON, as scheduling/schedule.py writes it.
    spec TEXT NOT NULL,
    misfire TEXT NOT NULL,
    task TEXT NOT NULL,
    -- JSON: the job to insert at each occurrence.
    template TEXT NOT NULL,
    -- The next occurrence.
    next_fire_at INTEGER NOT NULL,
    -- When its turn comes: next_fire_at, or later after a turn that failed, whose occurrences stay due.
    due_at INTEGER NOT NULL,
    last_fire_at INTEGER,
    last_job_id INTEGER,
    paused_at INTEGER,
    -- Why the last turn of this schedule could not fire; NULL when it could.
    error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX embedq_schedules_due ON embedq_schedules (due_at) WHERE paused_at IS NULL;

-- The ledger. The primary key is what makes an occurrence be enqueued once across all processes.
CREATE TABLE embedq_occurrences (
    schedule TEXT NOT NULL,
    fire_at INTEGER NOT NULL,
    -- enqueued, or passed: a run of occurrences up to last_fire_at that were not.
    outcome TEXT NOT NULL,
    last_fire_at INTEGER NOT NULL,
    occurrences INTEGER NOT NULL,
    job_id INTEGER,
    reason TEXT,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (schedule, fire_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX embedq_occurrences_recorded ON embedq_occurrences (recorded_at);

CREATE TABLE embedq_servers (
    -- AUTOINCREMENT: a dead server's number is never given to another, so its jobs cannot be mistaken.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    -- Processes with the same host see each other's lock files.
    host TEXT NOT NULL,
    hostname TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    workers INTEGER NOT NULL,
    -- JSON: a list, or null for all.
    queues TEXT,
    started_at INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    stopping_at INTEGER
) STRICT;

CREATE TABLE embedq_leases (
    name TEXT PRIMARY KEY,
    holder INTEGER NOT NULL,
    term INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Written in the transaction that finishes the jobs, one row a batch, so that pages of totals never count rows.
CREATE TABLE embedq_counters (
    minute INTEGER NOT NULL,
    name TEXT NOT NULL,
    queue TEXT NOT NULL,
    ending TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    ran_us INTEGER NOT NULL,
    waited_us INTEGER NOT NULL,
    PRIMARY KEY (minute, name, queue, ending)
) STRICT, WITHOUT ROWID;
