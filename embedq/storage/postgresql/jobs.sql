-- Statements of storage/jobs.py and claims.py, by the names of the SQLite ones. What is read to be written is locked as
-- it is read: PostgreSQL lets several transactions write at once. Batches come as JSON texts, as everywhere.
--
-- A FOR UPDATE at the end of a statement is left out where the statement is read without writing.
--
-- Where rows are found by their ids, `state || ''` keeps the planner from an index of the jobs in that state: statistics
-- from a quiet moment say that it is empty, and all of it would be read for each row.

-- name: insert_job
-- An idempotency key that is still kept wins over the new job.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, trigger, schedule, created_at, run_at, expires_at,
    attempt, claim, first_started_at, started_at, server_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id;

-- name: insert_plain
-- A job with nothing rare about it, as most are: thirteen more parameters to bind cost a tenth of an enqueue.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, created_at, run_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id;

-- name: insert_job_as
-- A job without an idempotency key, under an id that was taken before, so that the insert may come twice. The next id of
-- that sequence comes back; nothing does where the id is taken.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, trigger, schedule, created_at, run_at, expires_at,
    attempt, claim, first_started_at, started_at, server_id, id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT (id) DO NOTHING
RETURNING nextval($23::oid::regclass);

-- name: insert_plain_as
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, created_at, run_at, id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO NOTHING
RETURNING nextval($10::oid::regclass);

-- name: job_ids
-- The number of the sequence that gives jobs their ids.
SELECT pg_get_serial_sequence('embedq_jobs', 'id')::regclass::oid::bigint;

-- name: take_job_ids
SELECT nextval($1::oid::regclass) FROM generate_series(1, $2::bigint);

-- name: job_is_there
-- Whether the row of that id is the job of this name, with these arguments, made at this moment.
SELECT 1 FROM embedq_jobs WHERE id = $1 AND name = $2 AND payload = $3 AND created_at = $4;

-- name: tell_jobs
SELECT pg_notify($1, 'jobs');

-- name: insert_alike
-- Jobs that differ in nothing but their arguments, all in one step. The last parameter is a JSON list of payloads; ids
-- are given in its order.
INSERT INTO embedq_jobs (state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, trigger, schedule, created_at, run_at, expires_at)
SELECT $1, $2, $3, $4::bigint, $5, payload, $6, $7, $8, $9, $10::bigint, $11, $12, $13::bigint, $14::bigint, $15::bigint
FROM jsonb_array_elements_text($16::jsonb) WITH ORDINALITY AS given (payload, number)
ORDER BY number
RETURNING id;

-- name: job_id_by_key
SELECT id FROM embedq_jobs WHERE idempotency_key = $1;

-- name: promote_due
-- scheduled, retrying -> ready. An array, because a subquery that locks must be run only once.
UPDATE embedq_jobs SET state = 'ready'
WHERE id = ANY (ARRAY(
    SELECT id FROM embedq_jobs
    WHERE state IN ('scheduled', 'retrying') AND run_at <= $1 ORDER BY run_at LIMIT $2
    FOR UPDATE SKIP LOCKED
));

-- name: next_due
SELECT run_at FROM embedq_jobs
WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1;

-- name: survey
-- All that a claim must know before it locks anything, in one round trip: which of these executors ($1, a JSON list) have
-- a ready job in which queues, by skipping from one queue to the next in the index (one seek a queue); which executors
-- have a suspect in these queues ($2, a JSON list, or NULL for all); and when the next job is due.
WITH RECURSIVE found (executor, queue) AS (
    SELECT given, (SELECT queue FROM embedq_jobs AS job
                   WHERE state = 'ready' AND crashes < 2 AND job.executor = given ORDER BY queue LIMIT 1)
    FROM jsonb_array_elements_text($1::jsonb) AS given
    UNION ALL
    SELECT executor, (SELECT queue FROM embedq_jobs AS job
                      WHERE state = 'ready' AND crashes < 2 AND job.executor = found.executor AND queue > found.queue
                      ORDER BY queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL
)
SELECT 'ready', executor, queue, NULL::bigint FROM found WHERE queue IS NOT NULL
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL::bigint FROM embedq_jobs
WHERE state = 'ready' AND crashes >= 2
  AND ($2::jsonb IS NULL OR queue = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb))))
UNION ALL
(SELECT 'due', NULL, NULL, run_at FROM embedq_jobs
 WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1);

-- name: ready_queues
-- The queues that have a ready job, by skipping from one to the next in the index: one seek a queue.
WITH RECURSIVE found (queue) AS (
    SELECT (SELECT queue FROM embedq_jobs
            WHERE state = 'ready' AND crashes < 2 AND executor = $1 ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM embedq_jobs
            WHERE state = 'ready' AND crashes < 2 AND executor = $1 AND queue > found.queue ORDER BY queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL
)
SELECT queue FROM found WHERE queue IS NOT NULL;

-- name: ready_jobs
-- The whole batch as one JSON text. SKIP LOCKED: what another process is claiming is not waited for.
SELECT coalesce(json_agg(json_build_array(id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags,
    crashes, run_at, expires_at, first_started_at, parent_id, executor))::text, '[]')
FROM (SELECT * FROM embedq_jobs
      WHERE state = 'ready' AND crashes < 2 AND executor = $1 AND queue = $2 ORDER BY priority DESC, id LIMIT $3
      FOR UPDATE SKIP LOCKED) AS job;

-- name: suspect_jobs
SELECT coalesce(json_agg(json_build_array(id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags,
    crashes, run_at, expires_at, first_started_at, parent_id, executor))::text, '[]')
FROM (SELECT * FROM embedq_jobs
      WHERE state = 'ready' AND crashes >= 2 AND executor = $1
        AND ($2::jsonb IS NULL OR queue = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb))))
      ORDER BY id LIMIT $3
      FOR UPDATE SKIP LOCKED) AS job;

-- name: parked_jobs
SELECT coalesce(json_agg(json_build_array(id, claim + 1, attempt + 1, name, payload, code, options, queue, priority, tags,
    crashes, run_at, expires_at, first_started_at, parent_id, executor))::text, '[]')
FROM (SELECT * FROM embedq_jobs
      WHERE state = 'parked' AND needs = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) AND executor = $2
        AND ($3::jsonb IS NULL OR queue = ANY (ARRAY(SELECT jsonb_array_elements_text($3::jsonb))))
      ORDER BY needs, id LIMIT $4
      FOR UPDATE SKIP LOCKED) AS job;

-- name: claim_jobs
-- ready, parked -> running. A process that was given up on claims nothing: it would be nobody's. Its row is locked, so
-- that it cannot be given up on between this and the commit.
UPDATE embedq_jobs
SET state = 'running', claim = claim + 1, attempt = attempt + 1, server_id = $1, started_at = $2,
    first_started_at = coalesce(first_started_at, $2), needs = NULL, error = NULL, overdue_at = NULL
WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text($3::jsonb)::bigint))
  AND $1 = (SELECT id FROM embedq_servers WHERE id = $1 FOR KEY SHARE);

-- name: succeed_jobs
-- running -> succeeded. The claim keeps a rescued job's late result from ending the new run. The server's number stays,
-- since a success has no row in embedq_attempts; every index by it holds running jobs only.
-- By id, so that two transactions lock in the same order.
UPDATE embedq_jobs
SET state = 'succeeded', started_at = done.started_at, finished_at = done.finished_at,
    delete_at = done.delete_at, result = done.result, error = done.error,
    cancel_requested_at = NULL, overdue_at = NULL
FROM (SELECT (value ->> 0)::bigint AS id, (value ->> 1)::bigint AS claim, (value ->> 2)::bigint AS started_at,
             (value ->> 3)::bigint AS finished_at, (value ->> 4)::bigint AS delete_at, value ->> 5 AS result,
             value ->> 6 AS error
      FROM jsonb_array_elements($1::jsonb) AS value ORDER BY 1) AS done
WHERE embedq_jobs.id = done.id AND embedq_jobs.claim = done.claim AND state || '' = 'running';

-- name: end_job
-- running -> retrying, dead, cancelled, ready, parked
UPDATE embedq_jobs
SET state = $1, attempt = attempt - $2::bigint, crashes = crashes + $3::bigint, run_at = coalesce($4, run_at),
    started_at = $5, finished_at = $6::bigint, delete_at = $7, error = $8, needs = $9, server_id = NULL,
    overdue_at = NULL,
    -- A cancel that came while the job ran counts for its next run too. Of a cancelled job it tells that somebody
    -- wanted it, so that a retry of the parent does not bring it back.
    cancel_requested_at = CASE WHEN $6::bigint IS NULL OR $1 = 'cancelled' THEN cancel_requested_at END
WHERE id = $10 AND claim = $11 AND state || '' = 'running';

-- name: succeeded_claims
SELECT id, claim FROM embedq_jobs
WHERE state = 'succeeded' AND id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::bigint));

-- name: insert_attempt
INSERT INTO embedq_attempts (job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: count_minute
INSERT INTO embedq_counters AS total (minute, name, queue, ending, jobs, ran_us, waited_us, cpu_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (minute, name, queue, ending, backend) DO UPDATE
SET jobs = total.jobs + excluded.jobs, ran_us = total.ran_us + excluded.ran_us,
    waited_us = total.waited_us + excluded.waited_us, cpu_us = total.cpu_us + excluded.cpu_us;

-- name: awaiting_children
SELECT id, trigger, run_at, parent_id, options FROM embedq_jobs
WHERE parent_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::bigint)) AND state = 'awaiting'
ORDER BY id FOR UPDATE;

-- name: wake_child
-- awaiting -> ready, scheduled. What it may wait counts from now, as its due time does.
UPDATE embedq_jobs SET state = $1, expires_at = expires_at + $2::bigint - run_at, run_at = $2::bigint
WHERE id = $3 AND state || '' = 'awaiting';

-- name: cancel_child
-- awaiting -> cancelled, because of how its parent ended
UPDATE embedq_jobs SET state = 'cancelled', finished_at = $1, delete_at = $2, error = $3
WHERE id = $4 AND state || '' = 'awaiting';

-- name: revive_children
-- cancelled -> awaiting, for the children that were cancelled because this parent died
UPDATE embedq_jobs SET state = 'awaiting', finished_at = NULL, delete_at = NULL, error = NULL
WHERE parent_id = $1 AND state = 'cancelled' AND cancel_requested_at IS NULL AND trigger IS NOT NULL
RETURNING id;

-- name: cancel_waiting
-- awaiting, scheduled, ready, retrying, parked -> cancelled
UPDATE embedq_jobs SET state = 'cancelled', finished_at = $1, delete_at = $2, error = $3, needs = NULL,
    cancel_requested_at = $1
WHERE id = $4 AND state IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: request_cancel
UPDATE embedq_jobs SET cancel_requested_at = $1 WHERE id = $2 AND state || '' = 'running' AND cancel_requested_at IS NULL;

-- name: retry_job
-- scheduled, retrying, parked, dead, cancelled -> ready: a fresh count of attempts, the history kept
UPDATE embedq_jobs SET state = 'ready', run_at = $1, attempt = 0, crashes = 0, first_started_at = NULL,
    finished_at = NULL, delete_at = NULL, expires_at = NULL, cancel_requested_at = NULL, needs = NULL
WHERE id = $2 AND state IN ('scheduled', 'retrying', 'parked', 'dead', 'cancelled');

-- name: job_state
-- Locked: a parent must not end, nor a job move, between this look and what is done because of it.
SELECT state, name, queue, options FROM embedq_jobs WHERE id = $1 FOR UPDATE;

-- name: cancel_requested
-- Locked whatever the answer (the LIMIT keeps the condition outside): a cancel comes before, or finds the job ended.
SELECT options FROM (
    SELECT options, cancel_requested_at FROM embedq_jobs WHERE id = $1 AND claim = $2 AND state || '' = 'running'
    LIMIT 1 FOR UPDATE) AS job
WHERE cancel_requested_at IS NOT NULL;

-- name: mark_overdue
UPDATE embedq_jobs SET overdue_at = $1 WHERE id = $2 AND claim = $3 AND state || '' = 'running';

-- name: save_progress
UPDATE embedq_jobs SET progress = $1, progress_note = $2 WHERE id = $3 AND claim = $4 AND state || '' = 'running';

-- name: insert_log
INSERT INTO embedq_logs (job_id, at, attempt, message) VALUES ($1, $2, $3, $4);

-- name: running_of_server
SELECT id, claim, attempt, name, queue, crashes, run_at, started_at, cancel_requested_at, options
FROM embedq_jobs
WHERE state = 'running' AND server_id = $1
ORDER BY id FOR UPDATE;

-- name: orphaned_servers
-- Servers that hold jobs and are not registered: the jobs are nobody's.
SELECT DISTINCT server_id FROM embedq_jobs AS job
WHERE state = 'running' AND started_at <= $1 AND NOT EXISTS (SELECT 1 FROM embedq_servers WHERE id = job.server_id);

-- name: expired_jobs
-- ready -> cancelled
UPDATE embedq_jobs SET state = 'cancelled', finished_at = $1, delete_at = $2, error = 'expired before it could start'
WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text($3::jsonb)::bigint)) AND state IN ('ready', 'parked');

-- name: prunable_jobs
-- A parent is kept while a child still waits for it or may read its result; and the newest job, as on SQLite.
SELECT id FROM embedq_jobs AS job
WHERE state = $1 AND delete_at IS NOT NULL AND delete_at <= $2 AND NOT EXISTS (
    SELECT 1 FROM embedq_jobs AS child
    WHERE child.parent_id = job.id AND child.parent_id IS NOT NULL AND child.delete_at IS NULL)
    AND id < (SELECT max(id) FROM embedq_jobs)
ORDER BY delete_at LIMIT $3
FOR UPDATE OF job SKIP LOCKED;

-- name: delete_jobs
-- Looked at again: a child may have come between the look and the lock. None can come any more.
DELETE FROM embedq_jobs AS job
WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::bigint)) AND NOT EXISTS (
    SELECT 1 FROM embedq_jobs AS child
    WHERE child.parent_id = job.id AND child.parent_id IS NOT NULL AND child.delete_at IS NULL);

-- name: delete_attempts
DELETE FROM embedq_attempts
WHERE job_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::bigint))
  AND NOT EXISTS (SELECT 1 FROM embedq_jobs WHERE id = job_id);

-- name: delete_logs
DELETE FROM embedq_logs
WHERE job_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::bigint))
  AND NOT EXISTS (SELECT 1 FROM embedq_jobs WHERE id = job_id);
