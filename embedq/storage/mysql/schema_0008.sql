-- For flow control and schedules. A column or index that is there already, from a run that was cut short, is left as it
-- is.

-- Pauses: what no process claims, or what one process does not; see flow/holds.py. A row whose time is over is here until
-- the jobs that were parked for it are ready again.
CREATE TABLE IF NOT EXISTS embedq_holds (
    -- everything, queue, task, process
    kind VARCHAR(16) NOT NULL,
    -- Of the queue or task, or the process's UUID; '' for everything.
    name VARCHAR(400) NOT NULL,
    -- When it ends by itself; NULL for never.
    until BIGINT,
    reason LONGTEXT NOT NULL,
    actor LONGTEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- 1 for a process that leaves alone what is paused; NULL for one of an earlier build, which does not.
ALTER TABLE embedq_servers ADD COLUMN knows_holds BIGINT;

-- Limits, rates and fair turns; see flow/limits.py and storage/lanes.py. Jobs under any have a lane, and an executor of
-- their own ("thread lane"), so that plain jobs, and processes of an earlier build, do not meet them.
ALTER TABLE embedq_jobs ADD COLUMN lane_key VARCHAR(255);
-- How many jobs in a row the lane may start; NULL for one.
ALTER TABLE embedq_jobs ADD COLUMN weight BIGINT;
-- The limits that the job is under, and its key in each; a limit without keys has ''.
ALTER TABLE embedq_jobs ADD COLUMN limit_1 VARCHAR(400);
ALTER TABLE embedq_jobs ADD COLUMN key_1 VARCHAR(255);
ALTER TABLE embedq_jobs ADD COLUMN limit_2 VARCHAR(400);
ALTER TABLE embedq_jobs ADD COLUMN key_2 VARCHAR(255);
ALTER TABLE embedq_jobs ADD COLUMN queued VARCHAR(16) AS (
    CASE WHEN state = 'ready' AND crashes < 2 AND lane_key IS NOT NULL THEN executor END) STORED;
ALTER TABLE embedq_jobs ADD INDEX embedq_jobs_lanes (queued, queue, urgency, lane_key, id);

-- The values of limits: those of the code, and those that were set at run time, which win.
CREATE TABLE IF NOT EXISTS embedq_limits (
    name VARCHAR(400) NOT NULL PRIMARY KEY,
    -- NULL for no bound.
    total BIGINT,
    per_key BIGINT,
    -- JSON; see flow/limits.py.
    rates LONGTEXT NOT NULL,
    -- NULL where the code's value stands.
    set_total BIGINT,
    set_per_key BIGINT,
    -- Which person or program set them, and when.
    set_by LONGTEXT,
    set_at BIGINT,
    updated_at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- A row for each limit with a total or a rate, and for each key of one, made when it is first met: a claim that counts
-- locks it. Rows without use are deleted; see upkeep.py.
CREATE TABLE IF NOT EXISTS embedq_permits (
    -- JSON: [limit] or [limit, key].
    permit VARCHAR(700) NOT NULL PRIMARY KEY,
    -- JSON: of each rate, the moment up to which all starts are given away.
    tats LONGTEXT NOT NULL,
    -- Nothing starts before this moment; NULL for none.
    closed_until BIGINT,
    used_at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- Unique jobs: which job took a key last; see storage/unique.py.
CREATE TABLE IF NOT EXISTS embedq_unique_keys (
    unique_key VARCHAR(400) NOT NULL PRIMARY KEY,
    -- 0 while the transaction that inserts it is open.
    job_id BIGINT NOT NULL,
    -- The end of its period; at least the moment at which it was taken.
    until BIGINT NOT NULL,
    KEY embedq_unique_keys_job (job_id),
    KEY embedq_unique_keys_until (until)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};

-- How often the job has put itself off; NULL for never. See storage/snoozes.py.
ALTER TABLE embedq_jobs ADD COLUMN snoozes BIGINT;

-- What happens to an occurrence while a run has not ended; see scheduling/overlap.py. An earlier build lets them overlap.
ALTER TABLE embedq_schedules ADD COLUMN overlap VARCHAR(16) NOT NULL DEFAULT 'allow';
-- The jobs that had not ended after its last turn, a JSON list of ids; NULL if an earlier build fired it last.
ALTER TABLE embedq_schedules ADD COLUMN runs LONGTEXT;
-- How many occurrences in a row were skipped because a run was in the way.
ALTER TABLE embedq_schedules ADD COLUMN skipped BIGINT NOT NULL DEFAULT 0;
-- The set of recurring jobs that the code declares, of which it is one; NULL for one that no `sync_recurring` has seen.
ALTER TABLE embedq_schedules ADD COLUMN declared_in VARCHAR(255);
-- Since when the code of that set no longer declares it; NULL while it does.
ALTER TABLE embedq_schedules ADD COLUMN missing_since BIGINT;
