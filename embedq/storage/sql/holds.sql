-- Statements of storage/holds.py: what is paused, and the jobs that are parked meanwhile.

-- name: holds
-- All of them, those that are over and not yet removed among them.
SELECT {columns:holds} FROM embedq_holds ORDER BY kind, name;

-- name: put_hold
-- notify: jobs
-- exact
-- Pause something. What is paused already is paused by the latest.
INSERT INTO embedq_holds ({columns:holds}) VALUES ({values:holds})
ON CONFLICT (kind, name) DO UPDATE
SET until = excluded.until, reason = excluded.reason, actor = excluded.actor, since = excluded.since;

-- name: end_hold
-- notify: jobs
-- Let it be over now ($1).
UPDATE embedq_holds SET until = $1 WHERE kind = $2 AND name = $3 AND (until IS NULL OR until > $1);

-- name: hold
-- When a hold ends. Locked: no job is parked for a hold that is being removed, and none is removed while a job is parked
-- for it.
SELECT until FROM embedq_holds WHERE kind = $1 AND name = $2 FOR UPDATE;

-- name: delete_hold
-- Remove one that is over.
DELETE FROM embedq_holds WHERE kind = $1 AND name = $2;

-- name: restore_hold
-- exact
-- Insert a hold that is over, unless there is one.
INSERT INTO embedq_holds ({columns:holds}) VALUES ({values:holds}) ON CONFLICT (kind, name) DO NOTHING;

-- name: delete_process_hold
-- Remove the hold of a process that leaves.
DELETE FROM embedq_holds WHERE kind = 'process' AND name = (SELECT uuid FROM embedq_servers WHERE id = $1);

-- name: process_by_uuid
-- Whether a process is registered.
SELECT 1 FROM embedq_servers WHERE uuid = $1;

-- name: line_of_queue
-- The first jobs of a queue, which need not be claimed.
SELECT id, queue, name FROM {ready} AND executor = $1 AND queue = $2 ORDER BY {by_urgency} LIMIT $3;

-- name: line_across
-- The first jobs of all queues but the default one.
SELECT id, queue, name FROM {across:$1} ORDER BY {by_urgency} LIMIT $2;

-- name: park_held
-- Take held jobs out of the line: ready, parked -> parked. One that another process has locked is met again. An array,
-- because a subquery that locks must be run only once.
UPDATE embedq_jobs SET state = 'parked', needs = $1
WHERE id = ANY (ARRAY(SELECT id FROM embedq_jobs WHERE id IN $2[] AND {state} IN ('ready', 'parked')
                      ORDER BY id FOR UPDATE SKIP LOCKED));

-- name: release_held
-- notify: jobs
-- Let the first jobs continue that were parked for a hold: parked -> ready.
UPDATE embedq_jobs SET state = 'ready', needs = NULL
WHERE id = ANY (ARRAY(SELECT id FROM {parked_by_need} AND needs = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: parked_for_hold
-- Whether a job is parked for it.
SELECT 1 FROM {parked_by_need} AND needs = $1 LIMIT 1;

-- name: ignoring_holds
-- The processes of earlier builds, which start jobs that are paused.
SELECT hostname, pid, version FROM embedq_servers WHERE knows_holds IS NULL ORDER BY id LIMIT $1;
