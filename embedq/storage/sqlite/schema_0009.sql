-- For flow control and schedules.

-- Pauses: what no process claims, or what one process does not; see flow/holds.py. A row whose time is over is here until
-- the jobs that were parked for it are ready again.
CREATE TABLE embedq_holds (
    -- everything, queue, task, process
    kind TEXT NOT NULL,
    -- Of the queue or task, or the process's UUID; '' for everything.
    name TEXT NOT NULL,
    -- When it ends by itself; NULL for never.
    until INTEGER,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- 1 for a process that leaves alone what is paused; NULL for one of an earlier build, which does not.
ALTER TABLE embedq_servers ADD COLUMN knows_holds INTEGER;

-- Limits, rates and fair turns; see flow/limits.py and storage/lanes.py. Jobs under any have a lane, and an executor of
-- their own ("thread lane"), so that plain jobs, and processes of an earlier build, do not meet them.
ALTER TABLE embedq_jobs ADD COLUMN lane_key TEXT;
-- How many jobs in a row the lane may start; NULL for one.
ALTER TABLE embedq_jobs ADD COLUMN weight INTEGER;
-- The limits that the job is under, and its key in each; a limit without keys has ''.
ALTER TABLE embedq_jobs ADD COLUMN limit_1 TEXT;
ALTER TABLE embedq_jobs ADD COLUMN key_1 TEXT;
ALTER TABLE embedq_jobs ADD COLUMN limit_2 TEXT;
ALTER TABLE embedq_jobs ADD COLUMN key_2 TEXT;
CREATE INDEX embedq_jobs_lanes ON embedq_jobs (executor, queue, priority DESC, lane_key, id)
    WHERE state = 'ready' AND crashes < 2 AND lane_key IS NOT NULL;
-- A permit is a row that runs: it cannot leak.
CREATE INDEX embedq_jobs_permits ON embedq_jobs (limit_1, key_1, limit_2, key_2)
    WHERE state = 'running' AND limit_1 IS NOT NULL;

-- The values of limits: those of the code, and those that were set at run time, which win.
CREATE TABLE embedq_limits (
    name TEXT PRIMARY KEY,
    -- NULL for no bound.
    total INTEGER,
    per_key INTEGER,
    -- JSON; see flow/limits.py.
    rates TEXT NOT NULL,
    -- NULL where the code's value stands.
    set_total INTEGER,
    set_per_key INTEGER,
    -- Which person or program set them, and when.
    set_by TEXT,
    set_at INTEGER,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row for each limit with a total or a rate, and for each key of one, made when it is first met: a claim that counts
-- locks it. Rows without use are deleted; see upkeep.py.
CREATE TABLE embedq_permits (
    -- JSON: [limit] or [limit, key].
    permit TEXT PRIMARY KEY,
    -- JSON: of each rate, the moment up to which all starts are given away.
    tats TEXT NOT NULL,
    -- Nothing starts before this moment; NULL for none.
    closed_until INTEGER,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Unique jobs: which job took a key last; see storage/unique.py.
CREATE TABLE embedq_unique_keys (
    unique_key TEXT NOT NULL PRIMARY KEY,
    -- 0 while the transaction that inserts it is open.
    job_id INTEGER NOT NULL,
    -- The end of its period; at least the moment at which it was taken.
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX embedq_unique_keys_job ON embedq_unique_keys (job_id);
CREATE INDEX embedq_unique_keys_until ON embedq_unique_keys (until);

-- New arguments stand in the row; what stood apart is no longer those of the job.
CREATE TRIGGER embedq_large_replaced AFTER UPDATE OF payload ON embedq_jobs WHEN NEW.payload <> ''
BEGIN
    DELETE FROM embedq_large WHERE job_id = NEW.id;
END;

-- How often the job has put itself off; NULL for never. See storage/snoozes.py.
ALTER TABLE embedq_jobs ADD COLUMN snoozes INTEGER;

-- What happens to an occurrence while a run has not ended; see scheduling/overlap.py. An earlier build lets them overlap.
ALTER TABLE embedq_schedules ADD COLUMN overlap TEXT NOT NULL DEFAULT 'allow';
-- The jobs that had not ended after its last turn, a JSON list of ids; NULL if an earlier build fired it last.
ALTER TABLE embedq_schedules ADD COLUMN runs TEXT;
-- How many occurrences in a row were skipped because a run was in the way.
ALTER TABLE embedq_schedules ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
-- The set of recurring jobs that the code declares, of which it is one; NULL for one that no `sync_recurring` has seen.
ALTER TABLE embedq_schedules ADD COLUMN declared_in TEXT;
-- Since when the code of that set no longer declares it; NULL while it does.
ALTER TABLE embedq_schedules ADD COLUMN missing_since INTEGER;
