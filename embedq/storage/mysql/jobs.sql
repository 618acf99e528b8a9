-- Statements of storage/jobs.py and claims.py, by the names of the SQLite ones.
--
-- $2[] is a JSON list, written out as (1, 2, 3). Where a name stands for several statements they run one after another;
-- its rows are those of the last one that has any, its count that of the last. What is read to be written is locked as it
-- is read; a FOR UPDATE at the end of a statement is left out where the statement is read without writing.

-- name: insert_job
-- A conflict is an idempotency key that is still kept: it wins over the new job.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, `trigger`, schedule, created_at, run_at, expires_at,
    attempt, claim, first_started_at, started_at, server_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: insert_plain
-- A job with nothing rare about it, as most are.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, created_at, run_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: insert_alike
-- The row of values is repeated for each payload. VALUES, not SELECT: only then are the ids known to be consecutive.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, `trigger`, schedule, created_at, run_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $16, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: inserted_ids
SELECT LAST_INSERT_ID(), @@auto_increment_increment;

-- name: job_id_by_key
-- The latest there is, though the transaction of an application may have an older snapshot.
SELECT id FROM embedq_jobs WHERE idempotency_key = $1 LOCK IN SHARE MODE;

-- name: promote_due
-- scheduled, retrying -> ready
UPDATE embedq_jobs AS job JOIN (
    SELECT id FROM embedq_jobs FORCE INDEX (embedq_jobs_due) WHERE due_at <= $1 ORDER BY due_at LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS due ON job.id = due.id
SET job.state = 'ready';

-- name: next_due
SELECT due_at FROM embedq_jobs FORCE INDEX (embedq_jobs_due) WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1;

-- name: survey
-- What a claim must know besides the queues that have a ready job (see queues.py): which executors have a suspect in these
-- queues ($2, a JSON list, or NULL for all), and when the next job is due.
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane = 'suspect' AND ($2 IS NULL OR queue IN $2[])
UNION ALL
(SELECT 'due', NULL, NULL, due_at FROM embedq_jobs FORCE INDEX (embedq_jobs_due)
 WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1);

-- name: ready_queues
-- One step of many; see queues.py.
-- For up to three executors ($1, $3, $5; NULL for none) the first queue after the one given that has a ready job.
SELECT $1, (SELECT queue FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
            WHERE lane = 'ready' AND executor = $1 AND ($2 IS NULL OR queue > $2) ORDER BY queue LIMIT 1)
UNION ALL
SELECT $3, (SELECT queue FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
            WHERE lane = 'ready' AND executor = $3 AND ($4 IS NULL OR queue > $4) ORDER BY queue LIMIT 1)
UNION ALL
SELECT $5, (SELECT queue FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
            WHERE lane = 'ready' AND executor = $5 AND ($6 IS NULL OR queue > $6) ORDER BY queue LIMIT 1);

-- name: ready_jobs
SELECT id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags, crashes, run_at, expires_at,
    first_started_at, parent_id, executor
FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane = 'ready' AND executor = $1 AND queue = $2 ORDER BY urgency, id LIMIT $3
FOR UPDATE SKIP LOCKED;

-- name: suspect_jobs
SELECT id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags, crashes, run_at, expires_at,
    first_started_at, parent_id, executor
FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane = 'suspect' AND executor = $1 AND ($2 IS NULL OR queue IN $2[]) ORDER BY id LIMIT $3
FOR UPDATE SKIP LOCKED;

-- name: parked_jobs
SELECT id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags, crashes, run_at, expires_at,
    first_started_at, parent_id, executor
FROM embedq_jobs FORCE INDEX (embedq_jobs_parked)
WHERE state = 'parked' AND needs IN $1[] AND executor = $2 AND ($3 IS NULL OR queue IN $3[]) ORDER BY needs, id LIMIT $4
FOR UPDATE SKIP LOCKED;

-- name: claim_jobs
-- ready, parked -> running. A process that was given up on claims nothing: it would be nobody's. Its row is written, so
-- that it is locked and cannot be given up on between this and the commit.
UPDATE embedq_servers AS server STRAIGHT_JOIN embedq_jobs AS job
SET server.stopping_at = server.stopping_at, job.state = 'running', job.claim = job.claim + 1,
    job.attempt = job.attempt + 1, job.server_id = $1, job.started_at = $2,
    job.first_started_at = coalesce(job.first_started_at, $2), job.needs = NULL, job.error = NULL, job.overdue_at = NULL
WHERE server.id = $1 AND job.id IN $3[];

-- name: succeed_jobs
-- running -> succeeded. The claim keeps a rescued job's late result from ending the new run. The server's number stays,
-- since a success has no row in embedq_attempts; every index by it holds running jobs only.
-- Texts say their character set, or they would be in the one that the server has for new databases.
UPDATE JSON_TABLE($1, '$[*]' COLUMNS (
    id BIGINT PATH '$[0]', claim BIGINT PATH '$[1]', started_at BIGINT PATH '$[2]', finished_at BIGINT PATH '$[3]',
    delete_at BIGINT PATH '$[4]', result LONGTEXT CHARACTER SET utf8mb4 PATH '$[5]',
    error LONGTEXT CHARACTER SET utf8mb4 PATH '$[6]')) AS done
STRAIGHT_JOIN embedq_jobs AS job ON job.id = done.id
SET job.state = 'succeeded', job.started_at = done.started_at, job.finished_at = done.finished_at,
    job.delete_at = done.delete_at, job.result = done.result, job.error = done.error,
    job.cancel_requested_at = NULL, job.overdue_at = NULL
WHERE job.claim = done.claim AND job.state = 'running';

-- name: end_job
-- running -> retrying, dead, cancelled, ready, parked
UPDATE embedq_jobs
SET state = $1, attempt = attempt - $2, crashes = crashes + $3, run_at = coalesce($4, run_at),
    started_at = $5, finished_at = $6, delete_at = $7, error = $8, needs = $9, server_id = NULL,
    overdue_at = NULL,
    -- A cancel that came while the job ran counts for its next run too. Of a cancelled job it tells that somebody
    -- wanted it, so that a retry of the parent does not bring it back.
    cancel_requested_at = CASE WHEN $6 IS NULL OR $1 = 'cancelled' THEN cancel_requested_at END
WHERE id = $10 AND claim = $11 AND state = 'running';

-- name: succeeded_claims
SELECT id, claim FROM embedq_jobs WHERE state = 'succeeded' AND id IN $1[];

-- name: insert_attempt
INSERT INTO embedq_attempts (job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: count_minute
INSERT INTO embedq_counters (minute, name, queue, ending, jobs, ran_us, waited_us, cpu_us, backend)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CONNECTION_ID())
ON DUPLICATE KEY UPDATE jobs = jobs + $5, ran_us = ran_us + $6, waited_us = waited_us + $7,
    cpu_us = cpu_us + $8;

-- name: awaiting_children
SELECT id, `trigger`, run_at, parent_id, options FROM embedq_jobs FORCE INDEX (embedq_jobs_parent)
WHERE parent_id IN $1[] AND state = 'awaiting'
ORDER BY id FOR UPDATE;

-- name: wake_child
-- awaiting -> ready, scheduled. What it may wait counts from now, as its due time does; MySQL assigns from left to right.
UPDATE embedq_jobs SET state = $1, expires_at = expires_at + $2 - run_at, run_at = $2
WHERE id = $3 AND state = 'awaiting';

-- name: cancel_child
-- awaiting -> cancelled, because of how its parent ended
UPDATE embedq_jobs SET state = 'cancelled', finished_at = $1, delete_at = $2, error = $3
WHERE id = $4 AND state = 'awaiting';

-- name: revive_children
-- cancelled -> awaiting, for the children that were cancelled because this parent died
SELECT id FROM embedq_jobs
WHERE parent_id = $1 AND state = 'cancelled' AND cancel_requested_at IS NULL AND `trigger` IS NOT NULL
FOR UPDATE;
UPDATE embedq_jobs SET state = 'awaiting', finished_at = NULL, delete_at = NULL, error = NULL
WHERE parent_id = $1 AND state = 'cancelled' AND cancel_requested_at IS NULL AND `trigger` IS NOT NULL;

-- name: cancel_waiting
-- awaiting, scheduled, ready, retrying, parked -> cancelled
UPDATE embedq_jobs SET state = 'cancelled', finished_at = $1, delete_at = $2, error = $3, needs = NULL,
    cancel_requested_at = $1
WHERE id = $4 AND state IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: request_cancel
UPDATE embedq_jobs SET cancel_requested_at = $1 WHERE id = $2 AND state = 'running' AND cancel_requested_at IS NULL;

-- name: retry_job
-- scheduled, retrying, parked, dead, cancelled -> ready: a fresh count of attempts, the history kept
UPDATE embedq_jobs SET state = 'ready', run_at = $1, attempt = 0, crashes = 0, first_started_at = NULL,
    finished_at = NULL, delete_at = NULL, expires_at = NULL, cancel_requested_at = NULL, needs = NULL
WHERE id = $2 AND state IN ('scheduled', 'retrying', 'parked', 'dead', 'cancelled');

-- name: job_state
-- Locked: a parent must not end, nor a job move, between this look and what is done because of it.
SELECT state, name, queue, options FROM embedq_jobs WHERE id = $1 FOR UPDATE;

-- name: cancel_requested
-- Locked whatever the answer: a cancel comes before, or finds the job ended.
SELECT 1 FROM embedq_jobs WHERE id = $1 AND claim = $2 AND state = 'running' FOR UPDATE;
SELECT options FROM embedq_jobs
WHERE id = $1 AND claim = $2 AND state = 'running' AND cancel_requested_at IS NOT NULL;

-- name: mark_overdue
UPDATE embedq_jobs SET overdue_at = $1 WHERE id = $2 AND claim = $3 AND state = 'running';

-- name: save_progress
UPDATE embedq_jobs SET progress = $1, progress_note = $2 WHERE id = $3 AND claim = $4 AND state = 'running';

-- name: insert_log
INSERT INTO embedq_logs (job_id, at, attempt, message) VALUES ($1, $2, $3, $4);

-- name: running_of_server
SELECT id, claim, attempt, name, queue, crashes, run_at, started_at, cancel_requested_at, options
FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane = CONCAT('running ', $1)
ORDER BY id FOR UPDATE;

-- name: orphaned_servers
-- Servers that hold jobs and are not registered: the jobs are nobody's.
SELECT DISTINCT server_id FROM embedq_jobs AS job FORCE INDEX (embedq_jobs_lane)
WHERE lane LIKE 'running %' AND started_at <= $1 AND NOT EXISTS (SELECT 1 FROM embedq_servers WHERE id = job.server_id);

-- name: expired_jobs
-- ready -> cancelled
UPDATE embedq_jobs SET state = 'cancelled', finished_at = $1, delete_at = $2, error = 'expired before it could start'
WHERE id IN $3[] AND state IN ('ready', 'parked');

-- name: prunable_jobs
-- A parent is kept while a child still waits for it or may read its result; and the newest job, as on SQLite.
SELECT id FROM embedq_jobs AS job FORCE INDEX (embedq_jobs_ended)
WHERE ended = $1 AND delete_at <= $2 AND NOT EXISTS (
    SELECT 1 FROM embedq_jobs AS child FORCE INDEX (embedq_jobs_parent)
    WHERE child.parent_id = job.id AND child.delete_at IS NULL)
    AND id < (SELECT max(id) FROM embedq_jobs)
ORDER BY delete_at LIMIT $3
FOR UPDATE SKIP LOCKED;

-- name: delete_jobs
-- Looked at again: a child may have come between the look and the lock. None can come any more.
DELETE job FROM embedq_jobs AS job
    LEFT JOIN embedq_jobs AS child FORCE INDEX (embedq_jobs_parent) ON child.parent_id = job.id AND child.delete_at IS NULL
WHERE job.id IN $1[] AND child.id IS NULL;

-- name: delete_attempts
DELETE attempt FROM embedq_attempts AS attempt LEFT JOIN embedq_jobs AS job ON job.id = attempt.job_id
WHERE attempt.job_id IN $1[] AND job.id IS NULL;

-- name: delete_logs
DELETE log FROM embedq_logs AS log LEFT JOIN embedq_jobs AS job ON job.id = log.job_id
WHERE log.job_id IN $1[] AND job.id IS NULL;
