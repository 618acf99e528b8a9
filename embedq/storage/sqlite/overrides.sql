-- Statements that SQLite writes in another way than storage/sql does, or has alone.

-- name: copied_counters
-- The servers have a row for each connection that counted.
SELECT minute, name, queue, ending, 0 AS backend, jobs, ran_us, waited_us, cpu_us
FROM embedq_counters;

-- name: copy_counters
-- What several connections of a server counted becomes one row.
INSERT INTO embedq_counters (minute, name, queue, ending, jobs, ran_us, waited_us, cpu_us)
SELECT $1, $2, $3, $4, $6, $7, $8, $9 WHERE $5 IS NOT NULL
ON CONFLICT (minute, name, queue, ending) DO UPDATE
SET jobs = jobs + excluded.jobs, ran_us = ran_us + excluded.ran_us, waited_us = waited_us + excluded.waited_us,
    cpu_us = cpu_us + excluded.cpu_us;

-- name: finest_counter
-- Here each minute has one row, whatever connection counted.
SELECT min(minute) FROM embedq_counters WHERE minute < $2 AND (minute % $1 <> 0);

-- name: news
-- By an index of the jobs that are to be cancelled; and json_each in the place of PostgreSQL's functions.
SELECT 'cancel', NULL, id, claim FROM embedq_jobs INDEXED BY embedq_jobs_cancelling
WHERE state = 'running' AND cancel_requested_at IS NOT NULL AND server_id = $1
UNION ALL
SELECT 'ready', NULL, NULL, NULL
WHERE CASE WHEN $2 IS NULL
    THEN (SELECT 1 FROM {ready} LIMIT 1)
    ELSE (SELECT 1 FROM json_each($2) AS given, json_each('["thread", "async", "process", "thread lane", "async lane", "process lane"]') AS one
          WHERE (SELECT 1 FROM {ready} AND executor = one.value AND queue = given.value LIMIT 1) LIMIT 1) END
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM {suspect} AND ($2 IS NULL OR queue IN $2[text])
UNION ALL
SELECT 'hold', kind || ' ' || name, until, NULL FROM embedq_holds
UNION ALL
SELECT * FROM (SELECT 'due', NULL, {due_key}, NULL FROM {due_jobs} ORDER BY {due_key} LIMIT 1);

-- name: insert_alike
-- By json_each: stepping row by row gives up the interpreter's lock at each, and waits for it again.
INSERT INTO embedq_jobs ({columns:new_job}) SELECT {alike:value} FROM json_each($22);

-- name: insert_each
-- Likewise.
INSERT INTO embedq_jobs ({columns:new_job}) SELECT {fields:new_job} FROM json_each($1);

-- name: insert_large
-- Store what stands apart of a job; see large.py.
INSERT INTO embedq_large (job_id, payload, code) VALUES ($1, $2, $3);

-- name: promote_due
-- No array, and nothing to lock.
UPDATE embedq_jobs SET state = 'ready'
WHERE id IN (SELECT id FROM {due_jobs} AND run_at <= $1 ORDER BY run_at LIMIT $2);

-- name: park_held
-- As promote_due.
UPDATE embedq_jobs SET state = 'parked', needs = $1 WHERE id IN $2[] AND state IN ('ready', 'parked');

-- name: release_held
-- Likewise.
UPDATE embedq_jobs SET state = 'ready', needs = NULL
WHERE id IN (SELECT id FROM {parked_by_need} AND needs = $1 ORDER BY id LIMIT $2);

-- name: survey
-- json_each in the place of PostgreSQL's functions.
SELECT 'ready', one.value, given.value, NULL FROM json_each($1) AS one, json_each(coalesce($2, '["default"]')) AS given
WHERE (SELECT 1 FROM {ready} AND executor = one.value AND queue = given.value LIMIT 1)
UNION ALL
SELECT 'any', value, NULL, NULL FROM json_each($1)
WHERE $2 IS NOT NULL AND (SELECT 1 FROM {ready} AND executor = value LIMIT 1)
UNION ALL
SELECT 'across', value, NULL, NULL FROM json_each($1)
WHERE $2 IS NULL AND (SELECT 1 FROM {across:value} LIMIT 1)
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM {suspect} AND ($3 IS NULL OR queue IN $3[text])
UNION ALL
SELECT 'hold', kind, name, until FROM embedq_holds
UNION ALL
SELECT * FROM (SELECT 'due', NULL, NULL, {due_key} FROM {due_jobs} ORDER BY {due_key} LIMIT 1);

-- name: ready_queues
-- The limit stands inside, where it ends the recursion.
WITH RECURSIVE found (queue) AS (
    SELECT (SELECT queue FROM {ready} AND executor = $1 ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM {ready} AND executor = $1 AND queue > found.queue ORDER BY queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL
    LIMIT $2
)
SELECT queue FROM found WHERE queue IS NOT NULL;

-- name: measure_across
-- Large arguments stand apart, so that the jobs are found first and then measured.
SELECT coalesce(sum(of_default), 0), coalesce(sum(1 - of_default), 0),
    coalesce(sum(length({payload}) + coalesce(length({code}), 0)), 0)
FROM (SELECT * FROM (SELECT 1 AS of_default, id, priority
                     FROM {ready} AND executor = $1 AND queue = 'default' ORDER BY priority DESC, id LIMIT $2)
      UNION ALL
      SELECT * FROM (SELECT 0, id, priority FROM {across:$1} ORDER BY priority DESC, id LIMIT $2)
      ORDER BY priority DESC, id LIMIT $2) AS first
CROSS JOIN embedq_jobs AS job USING (id);

-- name: claim_jobs
-- No other process writes meanwhile, so that the server's row need not be locked.
UPDATE embedq_jobs
SET state = 'running', claim = claim + 1, attempt = attempt + 1, server_id = $1, started_at = $2,
    first_started_at = coalesce(first_started_at, $2), needs = NULL, error = NULL, overdue_at = NULL
WHERE id IN $3[] AND EXISTS (SELECT 1 FROM embedq_servers WHERE id = $1);

-- name: succeed_jobs
-- In any order, since nothing is locked.
UPDATE embedq_jobs
SET state = 'succeeded', started_at = done.started_at, finished_at = done.finished_at,
    delete_at = done.delete_at, result = done.result, error = done.error,
    cancel_requested_at = NULL, overdue_at = NULL
FROM (SELECT value ->> 0 AS id, value ->> 1 AS claim, value ->> 2 AS started_at, value ->> 3 AS finished_at,
             value ->> 4 AS delete_at, value ->> 5 AS result, value ->> 6 AS error FROM json_each($1)) AS done
WHERE embedq_jobs.id = done.id AND embedq_jobs.claim = done.claim AND state = 'running';

-- name: succeed_plain
-- Likewise.
UPDATE embedq_jobs
SET state = 'succeeded', started_at = done.started_at, finished_at = done.finished_at,
    delete_at = done.finished_at + $2, result = NULL, error = NULL,
    cancel_requested_at = NULL, overdue_at = NULL
FROM (SELECT value ->> 0 AS id, value ->> 1 AS claim, value ->> 2 AS started_at, value ->> 3 AS finished_at
      FROM json_each($1)) AS done
WHERE embedq_jobs.id = done.id AND embedq_jobs.claim = done.claim AND state = 'running';

-- name: decide_later
-- By the index of waiting children.
INSERT INTO embedq_unsettled (parent_id, reviving, after_id)
SELECT value, 0, 0 FROM json_each($1)
WHERE EXISTS (SELECT 1 FROM {awaiting} AND parent_id = value)
ON CONFLICT (parent_id) DO NOTHING;

-- name: revive_later
-- By the index of children.
INSERT INTO embedq_unsettled (parent_id, reviving, after_id)
SELECT value, 1, 0 FROM json_each($1)
WHERE EXISTS (SELECT 1 FROM {children_of:= value})
ON CONFLICT (parent_id) DO UPDATE SET reviving = 1, after_id = 0;

-- name: lock_jobs
-- A transaction that writes has the whole file.
SELECT NULL WHERE $1 IS NULL;

-- name: cancel_requested
-- Without a lock, one condition is enough.
SELECT options FROM embedq_jobs WHERE id = $1 AND claim = $2 AND state = 'running' AND cancel_requested_at IS NOT NULL;

-- name: died_alone
-- Through the index of running jobs, by server.
SELECT id FROM {suspect} AND crashes_alone > 0 AND executor NOT LIKE 'process%'
UNION ALL
SELECT id FROM {running} AND server_id IN (SELECT id FROM embedq_servers) AND crashes_alone > 0 AND executor NOT LIKE 'process%'
LIMIT 2;

-- name: delete_jobs
-- No child can have come between the look and this.
DELETE FROM embedq_jobs WHERE id IN $1[];

-- name: delete_attempts
-- Likewise.
DELETE FROM embedq_attempts WHERE job_id IN $1[];

-- name: delete_logs
-- Likewise.
DELETE FROM embedq_logs WHERE job_id IN $1[];

-- name: orphaned_servers
-- NOT IN leaves out a damaged row that names no process.
SELECT DISTINCT server_id FROM {running} AND started_at <= $1 AND server_id NOT IN (SELECT id FROM embedq_servers);

-- name: wake_parked
-- No array, and nothing to lock.
UPDATE embedq_jobs SET state = 'ready', needs = NULL
WHERE id IN (SELECT id FROM {parked_by_need} AND needs IN $1[text] AND executor IN $2[text] ORDER BY needs, id LIMIT $3);

-- name: create_permits
-- json_each in the place of PostgreSQL's function.
INSERT INTO embedq_permits (permit, tats, used_at) SELECT value, '', $2 FROM json_each($1) WHERE true
ON CONFLICT (permit) DO NOTHING;
