-- For flow control and schedules.

-- Pauses: what no process claims, or what one process does not; see flow/holds.py. A row whose time is over is here until
-- the jobs that were parked for it are ready again.
CREATE TABLE embedq_holds (
    -- everything, queue, task, process
    kind TEXT NOT NULL,
    -- Of the queue or task, or the process's UUID; '' for everything.
    name TEXT NOT NULL,
    -- When it ends by itself; NULL for never.
    until BIGINT,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);

-- 1 for a process that leaves alone what is paused; NULL for one of an earlier build, which does not.
ALTER TABLE embedq_servers ADD COLUMN knows_holds BIGINT;

-- Limits, rates and fair turns; see flow/limits.py and storage/lanes.py. Jobs under any have a lane, and an executor of
-- their own ("thread lane"), so that plain jobs, and processes of an earlier build, do not meet them.
ALTER TABLE embedq_jobs ADD COLUMN lane_key TEXT COLLATE "C";
-- How many jobs in a row the lane may start; NULL for one.
ALTER TABLE embedq_jobs ADD COLUMN weight BIGINT;
-- The limits that the job is under, and its key in each; a limit without keys has ''.
ALTER TABLE embedq_jobs ADD COLUMN limit_1 TEXT;
ALTER TABLE embedq_jobs ADD COLUMN key_1 TEXT;
ALTER TABLE embedq_jobs ADD COLUMN limit_2 TEXT;
ALTER TABLE embedq_jobs ADD COLUMN key_2 TEXT;
-- The state is written so that embedq_jobs_ready does not fit what reads lanes: to statistics from before there were any
-- it looks as cheap, and all jobs in lanes would be read for each lane.
CREATE INDEX embedq_jobs_lanes ON embedq_jobs (executor, queue, priority DESC, lane_key, id)
    WHERE state || '' = 'ready' AND crashes < 2 AND lane_key IS NOT NULL;
-- A permit is a row that runs: it cannot leak.
CREATE INDEX embedq_jobs_permits ON embedq_jobs (limit_1, key_1, limit_2, key_2)
    WHERE state = 'running' AND limit_1 IS NOT NULL;

-- The values of limits: those of the code, and those that were set at run time, which win.
CREATE TABLE embedq_limits (
    name TEXT PRIMARY KEY,
    -- NULL for no bound.
    total BIGINT,
    per_key BIGINT,
    -- JSON; see flow/limits.py.
    rates TEXT NOT NULL,
    -- NULL where the code's value stands.
    set_total BIGINT,
    set_per_key BIGINT,
    updated_at BIGINT NOT NULL
);

-- A row for each limit with a total or a rate, and for each key of one, made when it is first met: a claim that counts
-- locks it. Rows without use are deleted; see upkeep.py.
CREATE TABLE embedq_permits (
    -- JSON: [limit] or [limit, key].
    permit TEXT COLLATE "C" PRIMARY KEY,
    -- JSON: of each rate, the moment up to which all starts are given away.
    tats TEXT NOT NULL,
    -- Nothing starts before this moment; NULL for none.
    closed_until BIGINT,
    used_at BIGINT NOT NULL
);

-- Unique jobs: which job took a key last; see storage/unique.py.
CREATE TABLE embedq_unique_keys (
    unique_key TEXT NOT NULL PRIMARY KEY,
    -- 0 while the transaction that inserts it is open.
    job_id BIGINT NOT NULL,
    -- The end of its period; at least the moment at which it was taken.
    until BIGINT NOT NULL
);

CREATE INDEX embedq_unique_keys_job ON embedq_unique_keys (job_id);
CREATE INDEX embedq_unique_keys_until ON embedq_unique_keys (until);

-- How often the job has put itself off; NULL for never. See storage/snoozes.py.
ALTER TABLE embedq_jobs ADD COLUMN snoozes BIGINT;
