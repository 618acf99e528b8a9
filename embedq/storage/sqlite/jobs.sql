-- Statements of storage/jobs.py. Positional parameters: these run thousands of times a second, and binding by name
-- costs a third of an insert.

-- name: insert_job
-- An idempotency key that is still kept wins over the new job.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, trigger, schedule, created_at, run_at, expires_at,
    attempt, claim, first_started_at, started_at, server_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING;

-- name: insert_plain
-- A job with nothing rare about it, as most are: thirteen more parameters to bind cost a tenth of an enqueue.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, created_at, run_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_alike
-- Jobs that differ in nothing but their arguments, all in one step: stepping row by row gives up the interpreter's lock
-- at each, and waits for it again. The last parameter is a JSON list of payloads.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, trigger, schedule, created_at, run_at, expires_at)
SELECT ?1, ?2, ?3, ?4, ?5, value, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15
FROM json_each(?16);

-- name: job_id_by_key
SELECT id FROM embedq_jobs WHERE idempotency_key = ?;

-- name: promote_due
-- scheduled, retrying -> ready
UPDATE embedq_jobs SET state = 'ready'
WHERE id IN (
    SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_due
    WHERE state IN ('scheduled', 'retrying') AND run_at <= ? ORDER BY run_at LIMIT ?
);

-- name: next_due
SELECT run_at FROM embedq_jobs INDEXED BY embedq_jobs_due
WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1;

-- name: survey
-- All that a claim must know before it locks anything: which of these executors (a JSON list) have
-- a ready job in which queues, by skipping from one queue to the next in the index (one seek a queue); which executors
-- have a suspect in these queues (a JSON list, or NULL for all); and when the next job is due.
WITH RECURSIVE found (executor, queue) AS (
    SELECT value, (SELECT queue FROM embedq_jobs INDEXED BY embedq_jobs_ready
                   WHERE state = 'ready' AND crashes < 2 AND executor = value ORDER BY queue LIMIT 1)
    FROM json_each(?1)
    UNION ALL
    SELECT executor, (SELECT queue FROM embedq_jobs AS job INDEXED BY embedq_jobs_ready
                      WHERE state = 'ready' AND crashes < 2 AND job.executor = found.executor AND queue > found.queue
                      ORDER BY queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL
)
SELECT 'ready', executor, queue, NULL FROM found WHERE queue IS NOT NULL
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM embedq_jobs INDEXED BY embedq_jobs_suspect
WHERE state = 'ready' AND crashes >= 2 AND (?2 IS NULL OR queue IN (SELECT value FROM json_each(?2)))
UNION ALL
SELECT * FROM (SELECT 'due', NULL, NULL, run_at FROM embedq_jobs INDEXED BY embedq_jobs_due
               WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1);

-- name: ready_queues
-- The queues that have a ready job, by skipping from one to the next in the index: one seek a queue.
WITH RECURSIVE found (queue) AS (
    SELECT (SELECT queue FROM embedq_jobs INDEXED BY embedq_jobs_ready
            WHERE state = 'ready' AND crashes < 2 AND executor = ?1 ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM embedq_jobs INDEXED BY embedq_jobs_ready
            WHERE state = 'ready' AND crashes < 2 AND executor = ?1 AND queue > found.queue ORDER BY queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL
)
SELECT queue FROM found WHERE queue IS NOT NULL;

-- name: ready_jobs
-- The whole batch as one JSON text, in one step; see insert_jobs.
SELECT json_group_array(json_array(id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags, crashes,
    run_at, expires_at, first_started_at, parent_id, executor))
FROM (SELECT * FROM embedq_jobs INDEXED BY embedq_jobs_ready
      WHERE state = 'ready' AND crashes < 2 AND executor = ? AND queue = ? ORDER BY priority DESC, id LIMIT ?);

-- name: suspect_jobs
SELECT json_group_array(json_array(id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags, crashes,
    run_at, expires_at, first_started_at, parent_id, executor))
FROM (SELECT * FROM embedq_jobs INDEXED BY embedq_jobs_suspect
      WHERE state = 'ready' AND crashes >= 2 AND executor = ?1
        AND (?2 IS NULL OR queue IN (SELECT value FROM json_each(?2))) ORDER BY id LIMIT ?3);

-- name: parked_jobs
SELECT json_group_array(json_array(id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags, crashes,
    run_at, expires_at, first_started_at, parent_id, executor))
FROM (SELECT * FROM embedq_jobs INDEXED BY embedq_jobs_parked
      WHERE state = 'parked' AND needs IN (SELECT value FROM json_each(?1)) AND executor = ?2
        AND (?3 IS NULL OR queue IN (SELECT value FROM json_each(?3))) ORDER BY needs, id LIMIT ?4);

-- name: claim_jobs
-- ready, parked -> running. A process that was given up on claims nothing: it would be nobody's.
UPDATE embedq_jobs
SET state = 'running', claim = claim + 1, attempt = attempt + 1, server_id = ?1, started_at = ?2,
    first_started_at = coalesce(first_started_at, ?2), needs = NULL, error = NULL, overdue_at = NULL
WHERE id IN (SELECT value FROM json_each(?3)) AND EXISTS (SELECT 1 FROM embedq_servers WHERE id = ?1);

-- name: succeed_jobs
-- running -> succeeded. The claim keeps a rescued job's late result from ending the new run. The server's number stays,
-- since a success has no row in embedq_attempts; every index by it holds running jobs only.
UPDATE embedq_jobs
SET state = 'succeeded', started_at = done.started_at, finished_at = done.finished_at,
    delete_at = done.delete_at, result = done.result, error = done.error,
    cancel_requested_at = NULL, overdue_at = NULL
FROM (SELECT value ->> 0 AS id, value ->> 1 AS claim, value ->> 2 AS started_at, value ->> 3 AS finished_at,
             value ->> 4 AS delete_at, value ->> 5 AS result, value ->> 6 AS error FROM json_each(?)) AS done
WHERE embedq_jobs.id = done.id AND embedq_jobs.claim = done.claim AND state = 'running';

-- name: end_job
-- running -> retrying, dead, cancelled, ready, parked
UPDATE embedq_jobs
SET state = ?1, attempt = attempt - ?2, crashes = crashes + ?3, run_at = coalesce(?4, run_at), started_at = ?5,
    finished_at = ?6, delete_at = ?7, error = ?8, needs = ?9, server_id = NULL, overdue_at = NULL,
    -- A cancel that came while the job ran counts for its next run too. Of a cancelled job it tells that somebody
    -- wanted it, so that a retry of the parent does not bring it back.
    cancel_requested_at = CASE WHEN ?6 IS NULL OR ?1 = 'cancelled' THEN cancel_requested_at END
WHERE id = ?10 AND claim = ?11 AND state = 'running';

-- name: succeeded_claims
SELECT id, claim FROM embedq_jobs WHERE state = 'succeeded' AND id IN (SELECT value FROM json_each(?));

-- name: insert_attempt
INSERT INTO embedq_attempts (job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: count_minute
INSERT INTO embedq_counters (minute, name, queue, ending, jobs, ran_us, waited_us, cpu_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (minute, name, queue, ending) DO UPDATE
SET jobs = jobs + excluded.jobs, ran_us = ran_us + excluded.ran_us, waited_us = waited_us + excluded.waited_us,
    cpu_us = cpu_us + excluded.cpu_us;

-- name: awaiting_children
SELECT id, trigger, run_at, parent_id, options FROM embedq_jobs INDEXED BY embedq_jobs_awaiting
WHERE parent_id IN (SELECT value FROM json_each(?)) AND state = 'awaiting';

-- name: wake_child
-- awaiting -> ready, scheduled. What it may wait counts from now, as its due time does.
UPDATE embedq_jobs SET state = ?1, expires_at = expires_at + ?2 - run_at, run_at = ?2
WHERE id = ?3 AND state = 'awaiting';

-- name: cancel_child
-- awaiting -> cancelled, because of how its parent ended
UPDATE embedq_jobs SET state = 'cancelled', finished_at = ?, delete_at = ?, error = ? WHERE id = ? AND state = 'awaiting';

-- name: revive_children
-- cancelled -> awaiting, for the children that were cancelled because this parent died
UPDATE embedq_jobs SET state = 'awaiting', finished_at = NULL, delete_at = NULL, error = NULL
WHERE parent_id = ? AND state = 'cancelled' AND cancel_requested_at IS NULL AND trigger IS NOT NULL
RETURNING id;

-- name: cancel_waiting
-- awaiting, scheduled, ready, retrying, parked -> cancelled
UPDATE embedq_jobs SET state = 'cancelled', finished_at = ?1, delete_at = ?2, error = ?3, needs = NULL,
    cancel_requested_at = ?1
WHERE id = ?4 AND state IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: request_cancel
UPDATE embedq_jobs SET cancel_requested_at = ? WHERE id = ? AND state = 'running' AND cancel_requested_at IS NULL;

-- name: retry_job
-- scheduled, retrying, parked, dead, cancelled -> ready: a fresh count of attempts, the history kept
UPDATE embedq_jobs SET state = 'ready', run_at = ?, attempt = 0, crashes = 0, first_started_at = NULL,
    finished_at = NULL, delete_at = NULL, expires_at = NULL, cancel_requested_at = NULL, needs = NULL
WHERE id = ? AND state IN ('scheduled', 'retrying', 'parked', 'dead', 'cancelled');

-- name: job_state
SELECT state, name, queue, options FROM embedq_jobs WHERE id = ?;

-- name: cancel_requested
SELECT options FROM embedq_jobs WHERE id = ? AND claim = ? AND state = 'running' AND cancel_requested_at IS NOT NULL;

-- name: mark_overdue
UPDATE embedq_jobs SET overdue_at = ? WHERE id = ? AND claim = ? AND state = 'running';

-- name: save_progress
UPDATE embedq_jobs SET progress = ?, progress_note = ? WHERE id = ? AND claim = ? AND state = 'running';

-- name: insert_log
INSERT INTO embedq_logs (job_id, at, attempt, message) VALUES (?, ?, ?, ?);

-- name: running_of_server
SELECT id, claim, attempt, name, queue, crashes, run_at, started_at, cancel_requested_at, options
FROM embedq_jobs INDEXED BY embedq_jobs_running
WHERE state = 'running' AND server_id = ?;

-- name: orphaned_servers
-- Servers that hold jobs and are not registered: the jobs are nobody's.
SELECT DISTINCT server_id FROM embedq_jobs INDEXED BY embedq_jobs_running
WHERE state = 'running' AND started_at <= ? AND server_id NOT IN (SELECT id FROM embedq_servers);

-- name: expired_jobs
-- ready -> cancelled
UPDATE embedq_jobs SET state = 'cancelled', finished_at = ?1, delete_at = ?2, error = 'expired before it could start'
WHERE id IN (SELECT value FROM json_each(?3)) AND state IN ('ready', 'parked');

-- name: prunable_jobs
-- A parent is kept while a child still waits for it or may read its result. The newest job is kept so that its id, the
-- highest, is not given again.
SELECT id FROM embedq_jobs AS job INDEXED BY embedq_jobs_ended
WHERE state = ?1 AND delete_at IS NOT NULL AND delete_at <= ?2 AND NOT EXISTS (
    SELECT 1 FROM embedq_jobs AS child INDEXED BY embedq_jobs_children
    WHERE child.parent_id = job.id AND child.parent_id IS NOT NULL AND child.delete_at IS NULL)
    AND id < (SELECT max(id) FROM embedq_jobs)
ORDER BY delete_at LIMIT ?3;

-- name: delete_jobs
DELETE FROM embedq_jobs WHERE id IN (SELECT value FROM json_each(?));

-- name: delete_attempts
DELETE FROM embedq_attempts WHERE job_id IN (SELECT value FROM json_each(?));

-- name: delete_logs
DELETE FROM embedq_logs WHERE job_id IN (SELECT value FROM json_each(?));
