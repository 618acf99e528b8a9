-- Statements of storage/jobs.py, claims.py, continuations.py and upkeep.py: the life of a job. Parameters are positional:
-- these run thousands of times a second, and binding by name costs a third of an insert. What is read to be written is
-- locked as it is read, where several transactions write at once; that is left out where a statement only reads.

-- name: insert_job
-- notify: new
-- exact
-- Insert a job of any kind, also one that is running already. An idempotency key that is still kept wins over it.
INSERT INTO embedq_jobs ({columns:any_job}) VALUES ({values:any_job})
ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id;

-- name: insert_plain
-- notify: new
-- exact
-- Insert a job with nothing rare about it, as most are: thirteen more parameters to bind cost a tenth of an enqueue.
INSERT INTO embedq_jobs ({columns:plain_job}) VALUES ({values:plain_job}) RETURNING id;

-- name: insert_alike
-- notify: jobs
-- exact
-- Insert jobs that differ in nothing but their arguments, all in one step. The last parameter is a JSON list of payloads;
-- ids are given in its order.
INSERT INTO embedq_jobs ({columns:new_job}) SELECT {alike:payload}
FROM jsonb_array_elements_text($22::jsonb) WITH ORDINALITY AS given (payload, number)
ORDER BY number
RETURNING id;

-- name: insert_each
-- Insert jobs that differ in more, none of them with an idempotency key. The parameter is a JSON list of rows; ids are
-- given in its order.
INSERT INTO embedq_jobs ({columns:new_job}) SELECT {fields:new_job}
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS given (value, number)
ORDER BY number
RETURNING id;

-- name: job_ids_by_keys
-- The jobs that have these idempotency keys.
SELECT idempotency_key, id FROM embedq_jobs WHERE idempotency_key IN $1[text];

-- name: job_id_by_key
-- The job that has an idempotency key.
SELECT id FROM embedq_jobs WHERE idempotency_key = $1;

-- name: promote_due
-- notify: jobs
-- Make ready what is due: scheduled, retrying -> ready. An array, because a subquery that locks must be run only once.
UPDATE embedq_jobs SET state = 'ready'
WHERE id = ANY (ARRAY(SELECT id FROM {due_jobs} AND run_at <= $1 ORDER BY run_at LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: next_due
-- When the next job is due.
SELECT {due_key} FROM {due_jobs} ORDER BY {due_key} LIMIT 1;

-- name: survey
-- All that a claim must know before it locks anything, in one round trip: which of these executors ($1, a JSON list) have
-- a ready job in which of these queues ($2, a JSON list; for NULL, which is all of them, in the default one), and in any
-- but the default one; which executors have a suspect in which queues ($3, likewise); what is paused; and when the next
-- job is due.
SELECT 'ready', one, given, NULL::bigint
FROM jsonb_array_elements_text($1::jsonb) AS one, jsonb_array_elements_text(coalesce($2::jsonb, '["default"]')) AS given
WHERE (SELECT true FROM {ready} AND executor = one AND queue = given LIMIT 1)
UNION ALL
-- Where queues are named: whether there is one in any.
SELECT 'any', one, NULL, NULL::bigint FROM jsonb_array_elements_text($1::jsonb) AS one
WHERE $2::jsonb IS NOT NULL AND (SELECT true FROM {ready} AND executor = one LIMIT 1)
UNION ALL
-- In order, so that the index of such jobs is the one that serves it.
SELECT 'across', one, NULL, NULL::bigint FROM jsonb_array_elements_text($1::jsonb) AS one
WHERE $2::jsonb IS NULL AND (SELECT true FROM {across:one} ORDER BY priority DESC, id LIMIT 1)
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL::bigint FROM {suspect} AND ($3::jsonb IS NULL OR queue IN $3[text])
UNION ALL
SELECT 'hold', kind, name, until FROM embedq_holds
UNION ALL
(SELECT 'due', NULL, NULL, {due_key} FROM {due_jobs} ORDER BY {due_key} LIMIT 1);

-- name: ready_queues
-- The queues that have a ready job, $2 at most, by skipping from one to the next in the index: one seek a queue.
WITH RECURSIVE found (queue) AS (
    SELECT (SELECT queue FROM {ready} AND executor = $1 ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM {ready} AND executor = $1 AND queue > found.queue ORDER BY queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL
)
SELECT queue FROM found WHERE queue IS NOT NULL LIMIT $2;

-- The statements that choose what is claimed return the batch as one JSON text where that is cheaper than rows. What
-- another process is claiming is not waited for. Their last parameter is 0 where one of the jobs cannot be read: then what
-- may be large, or damaged, is left out.

-- name: ready_jobs
-- The first jobs of one queue.
SELECT {batch:$4}
FROM (SELECT * FROM {ready} AND executor = $1 AND queue = $2 ORDER BY {by_urgency} LIMIT $3
      FOR UPDATE SKIP LOCKED) AS job;

-- name: measure_queue
-- Of the first $3 jobs of a queue: 0, how many there are, and the bytes of their arguments and code.
SELECT 0, count(*), coalesce(sum(octet_length({payload}) + coalesce(octet_length({code}), 0)), 0)::bigint
FROM (SELECT id, payload, code FROM {ready} AND executor = $1 AND queue = $2 ORDER BY {by_urgency} LIMIT $3) AS first;

-- name: jobs_across
-- The first jobs of all queues but the default one, whatever the number of queues.
SELECT {batch:$3}
FROM (SELECT * FROM {across:$1} ORDER BY {by_urgency} LIMIT $2
      FOR UPDATE SKIP LOCKED) AS job;

-- name: measure_across
-- Of the first $2 jobs of all queues: how many are in the default one, how many in others, and their bytes.
SELECT count(*) FILTER (WHERE of_default), count(*) FILTER (WHERE NOT of_default), coalesce(sum(bytes), 0)::bigint
FROM (SELECT * FROM (SELECT true AS of_default, id, priority,
                         octet_length(payload) + coalesce(octet_length(code), 0) AS bytes
                     FROM {ready} AND executor = $1 AND queue = 'default' ORDER BY priority DESC, id LIMIT $2) AS of_default
      UNION ALL
      SELECT * FROM (SELECT false, id, priority, octet_length(payload) + coalesce(octet_length(code), 0)
                     FROM {across:$1} ORDER BY priority DESC, id LIMIT $2) AS others
      ORDER BY priority DESC, id LIMIT $2) AS first;

-- name: suspect_jobs
-- The first suspects. The order is that of process/poison.py: first those with the most crashes, less those in
-- which they were tried alone, and the trials that they lived through.
SELECT {batch:$4}
FROM (SELECT * FROM {suspect} AND executor IN $1[text] AND ($2::jsonb IS NULL OR queue IN $2[text])
      ORDER BY crashes - 2 * crashes_alone - trials DESC, trials, id LIMIT $3
      FOR UPDATE SKIP LOCKED) AS job;

-- name: parked_jobs
-- The first parked jobs that need what this process has.
SELECT {batch:$5}
FROM (SELECT * FROM {parked_by_need} AND needs IN $1[text] AND executor = $2 AND ($3::jsonb IS NULL OR queue IN $3[text])
      ORDER BY needs, id LIMIT $4
      FOR UPDATE SKIP LOCKED) AS job;

-- name: claim_jobs
-- Claim them: ready, parked -> running. A process that was given up on claims nothing: no process would have it. Its row is
-- locked, so that it cannot be given up on between this and the commit.
UPDATE embedq_jobs
SET state = 'running', claim = claim + 1, attempt = attempt + 1, server_id = $1, started_at = $2,
    first_started_at = coalesce(first_started_at, $2), needs = NULL, error = NULL, overdue_at = NULL
WHERE id IN $3[] AND $1 = (SELECT id FROM embedq_servers WHERE id = $1 FOR KEY SHARE);

-- name: succeed_jobs
-- bulk
-- Record successes: running -> succeeded. The claim keeps a rescued job's late result from ending the new run. The server's
-- number stays, since a success has no row in embedq_attempts; every index by it holds running jobs only. By id, so that
-- two transactions lock in the same order.
UPDATE embedq_jobs
SET state = 'succeeded', started_at = done.started_at, finished_at = done.finished_at,
    delete_at = done.delete_at, result = done.result, error = done.error,
    cancel_requested_at = NULL, overdue_at = NULL
FROM (SELECT (value ->> 0)::bigint AS id, (value ->> 1)::bigint AS claim, (value ->> 2)::bigint AS started_at,
             (value ->> 3)::bigint AS finished_at, (value ->> 4)::bigint AS delete_at, value ->> 5 AS result,
             value ->> 6 AS error
      FROM {elements:$1} ORDER BY 1) AS done
WHERE embedq_jobs.id = done.id AND embedq_jobs.claim = done.claim AND {state} = 'running';

-- name: succeed_plain
-- The same for jobs that returned nothing and are kept for the same time ($2), as most are: to take seven values of each
-- from JSON costs a quarter more than four.
UPDATE embedq_jobs
SET state = 'succeeded', started_at = done.started_at, finished_at = done.finished_at,
    delete_at = done.finished_at + $2::bigint, result = NULL, error = NULL,
    cancel_requested_at = NULL, overdue_at = NULL
FROM (SELECT (value ->> 0)::bigint AS id, (value ->> 1)::bigint AS claim, (value ->> 2)::bigint AS started_at,
             (value ->> 3)::bigint AS finished_at
      FROM {elements:$1} ORDER BY 1) AS done
WHERE embedq_jobs.id = done.id AND embedq_jobs.claim = done.claim AND {state} = 'running';

-- name: end_job
-- notify: jobs
-- Record another end of a run: running -> retrying, scheduled, dead, cancelled, ready, parked.
UPDATE embedq_jobs
SET state = $1, attempt = attempt - $2::bigint, crashes = crashes + $3::bigint,
    crashes_alone = crashes_alone + $12::bigint, run_at = coalesce($4, run_at), started_at = $5,
    finished_at = $6::bigint, delete_at = $7, error = $8, needs = $9, server_id = NULL,
    overdue_at = NULL,
    -- A cancel that came while the job ran counts for its next run too. Of a cancelled job it tells that a person wanted
    -- it, so that a retry of the parent does not bring it back.
    cancel_requested_at = CASE WHEN $6::bigint IS NULL OR $1 = 'cancelled' THEN cancel_requested_at END
WHERE id = $10 AND claim = $11 AND {state} = 'running';

-- name: snoozes
-- How often a job has put itself off. Locked, as it is counted then.
SELECT snoozes, options FROM embedq_jobs WHERE id = $1 AND claim = $2 AND {state} = 'running' FOR UPDATE;

-- name: count_snooze
-- Count one more, and let the moment of the first start move along ($1), from which retry policies count.
UPDATE embedq_jobs SET snoozes = coalesce(snoozes, 0) + 1, first_started_at = first_started_at + $1::bigint
WHERE id = $2 AND claim = $3 AND {state} = 'running';

-- name: forget_snoozes
-- Keep a job's newest ones in its history.
DELETE FROM embedq_attempts WHERE job_id = $1 AND claim <= $2 AND ending = 'snoozed';

-- name: succeeded_claims
-- Which of these jobs have succeeded under which claim, where a success was refused.
SELECT id, claim FROM embedq_jobs WHERE state = 'succeeded' AND id IN $1[];

-- name: insert_attempt
-- Keep an attempt that did not succeed in the job's history.
INSERT INTO embedq_attempts ({columns:attempts}) VALUES ({values:attempts});

-- part: add_counts
-- A damaged counter must not keep jobs from ending: sums stay far within what an integer holds.
SET jobs = greatest(-4611686018427387904, least(4611686018427387904, total.jobs)) + excluded.jobs,
    ran_us = greatest(-4611686018427387904, least(4611686018427387904, total.ran_us)) + excluded.ran_us,
    waited_us = greatest(-4611686018427387904, least(4611686018427387904, total.waited_us)) + excluded.waited_us,
    cpu_us = greatest(-4611686018427387904, least(4611686018427387904, total.cpu_us)) + excluded.cpu_us;

-- name: count_minute
-- Count jobs that ended alike in a minute.
INSERT INTO embedq_counters AS total ({columns:count}) VALUES ({values:count})
ON CONFLICT ({counter_key}) DO UPDATE {add_counts};

-- name: count_minutes
-- bulk
-- The same for several, as a JSON list of such rows.
INSERT INTO embedq_counters AS total ({columns:count}) SELECT {fields:count} FROM {elements:$1} WHERE true
ON CONFLICT ({counter_key}) DO UPDATE {add_counts};

-- name: awaiting_children
-- The children that wait for these parents, of which nothing is left to be settled first. In the order of the index, as
-- everywhere.
SELECT {columns:child} FROM {waiting_children}
WHERE parent_id IN $1[] AND state = 'awaiting'
    AND NOT EXISTS (SELECT 1 FROM embedq_unsettled AS noted WHERE noted.parent_id = job.parent_id)
LIMIT $2 FOR UPDATE OF job;

-- name: all_children
-- All children of these parents.
SELECT {columns:child} FROM {children_of:IN $1[]} LIMIT $2 FOR UPDATE;

-- name: wake_children
-- notify: jobs
-- Let children start: awaiting -> ready, scheduled. What it may wait counts from now ($1), as its due time does; in this
-- order, since MySQL assigns from left to right.
UPDATE {by_key:jobs} SET state = CASE WHEN run_at <= $1::bigint THEN 'ready' ELSE 'scheduled' END,
    expires_at = expires_at + greatest(run_at, $1::bigint) - run_at, run_at = greatest(run_at, $1::bigint)
WHERE id IN $2[] AND {state} = 'awaiting';

-- name: cancel_children
-- Cancel children because of how their parent ended ($3): awaiting -> cancelled.
UPDATE embedq_jobs SET state = 'cancelled', finished_at = $1, delete_at = $2,
    error = 'its parent ' || parent_id || ' ended as ' || $3::text || '; it waited for ' || trigger
WHERE id IN $4[] AND {state} = 'awaiting';

-- name: revive_jobs
-- Let children wait again that were cancelled because their parent died: cancelled -> awaiting.
UPDATE {by_key:jobs} SET state = 'awaiting', finished_at = NULL, delete_at = NULL, error = NULL
WHERE id IN $1[] AND {state} = 'cancelled';

-- name: decide_later
-- Note, of these parents, those with a child that waits. What is to be revived first stays so.
INSERT INTO embedq_unsettled (parent_id, reviving, after_id)
SELECT given::bigint, 0, 0 FROM jsonb_array_elements_text($1::jsonb) AS given
WHERE (SELECT true FROM embedq_jobs WHERE parent_id = given::bigint AND state = 'awaiting' LIMIT 1)
ON CONFLICT (parent_id) DO NOTHING;

-- name: revive_later
-- Note, of these parents, those with any child.
INSERT INTO embedq_unsettled (parent_id, reviving, after_id)
SELECT given::bigint, 1, 0 FROM jsonb_array_elements_text($1::jsonb) AS given
WHERE (SELECT true FROM {children_of:= given::bigint} LIMIT 1)
ON CONFLICT (parent_id) DO UPDATE SET reviving = 1, after_id = 0;

-- name: unsettled_parents
-- The parents with children that are still to be decided.
SELECT parent_id FROM embedq_unsettled ORDER BY parent_id LIMIT $1;

-- name: unsettled_parent
-- How far one of them is.
SELECT reviving, after_id FROM embedq_unsettled WHERE parent_id = $1 FOR UPDATE;

-- name: settled_up_to
-- Record how far it is now.
UPDATE embedq_unsettled SET reviving = $1, after_id = $2 WHERE parent_id = $3;

-- name: settled
-- All its children are decided.
DELETE FROM embedq_unsettled WHERE parent_id = $1;

-- name: children_after
-- The next children of a parent.
SELECT {columns:child} FROM {children_of:= $1} AND id > $2 ORDER BY parent_id, id LIMIT $3 FOR UPDATE;

-- name: lock_jobs
-- Lock jobs, in the order of their ids as everywhere.
SELECT id FROM {by_key:jobs} WHERE id IN $1[] ORDER BY id FOR UPDATE;

-- name: jobs_to_change
-- The jobs that are to be cancelled or retried, or continued, locked in order.
SELECT id, state, options FROM {by_key:jobs} WHERE id IN $1[] ORDER BY id FOR UPDATE;

-- name: cancel_jobs
-- Cancel what waits: awaiting, scheduled, ready, retrying, parked -> cancelled.
UPDATE {by_key:jobs} SET state = 'cancelled', finished_at = $1, delete_at = $2, error = $3, needs = NULL,
    cancel_requested_at = $1
WHERE id IN $4[] AND {state} IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: request_cancels
-- notify: cancel
-- Request that the processes that run these jobs stop them.
UPDATE {by_key:jobs} SET cancel_requested_at = $1
WHERE id IN $2[] AND {state} = 'running' AND cancel_requested_at IS NULL;

-- name: retry_jobs
-- notify: jobs
-- Run jobs by hand: scheduled, retrying, parked, dead, cancelled -> ready. A fresh count of attempts, the history kept.
UPDATE {by_key:jobs} SET state = 'ready', run_at = $1, attempt = 0, crashes = 0, crashes_alone = 0, trials = 0,
    snoozes = NULL, first_started_at = NULL, finished_at = NULL, delete_at = NULL, expires_at = NULL, cancel_requested_at = NULL,
    needs = NULL
WHERE id IN $2[] AND {state} IN ('scheduled', 'retrying', 'parked', 'dead', 'cancelled');

-- name: reschedule_job
-- notify: jobs
-- Give a waiting job another time: scheduled, retrying -> ready; ready -> scheduled; or the same. It expires as long
-- after its time as before. In this order, since MySQL uses what has been set before.
UPDATE embedq_jobs SET expires_at = expires_at + ($2::bigint - run_at), run_at = $2, state = $1 WHERE id = $3;

-- name: job_state
-- One job that is to be changed. Locked: it must not move between this look and what is done because of it.
SELECT state, name, queue, options FROM embedq_jobs WHERE id = $1 FOR UPDATE;

-- name: cancel_requested
-- Whether a running job is to be cancelled. Locked whatever the answer (the LIMIT keeps the condition outside): a cancel
-- comes before, or finds the job ended.
SELECT options FROM (
    SELECT options, cancel_requested_at FROM embedq_jobs WHERE id = $1 AND claim = $2 AND {state} = 'running'
    LIMIT 1 FOR UPDATE) AS job
WHERE cancel_requested_at IS NOT NULL;

-- name: mark_overdue
-- Mark a job that did not stop at its timeout.
UPDATE embedq_jobs SET overdue_at = $1 WHERE id = $2 AND claim = $3 AND {state} = 'running';

-- name: lived_through
-- A suspect's trial is over, and it runs on.
UPDATE embedq_jobs SET trials = trials + 1 WHERE id = $1 AND claim = $2 AND {state} = 'running';

-- name: died_alone
-- Jobs whose process died while they ran alone, and which are to run again or do. Those with a process of their own prove
-- nothing about other processes.
SELECT id FROM {suspect} AND crashes_alone > 0 AND executor NOT LIKE 'process%'
UNION ALL
SELECT id FROM {running} AND server_id IS NOT NULL AND crashes_alone > 0 AND executor NOT LIKE 'process%'
LIMIT 2;

-- name: save_progress
-- Store how far a job is.
UPDATE embedq_jobs SET progress = $1, progress_note = $2 WHERE id = $3 AND claim = $4 AND {state} = 'running';

-- name: save_options
-- Store options with what the job has put in its meta since it was claimed.
UPDATE embedq_jobs SET options = $1 WHERE id = $2 AND claim = $3 AND {state} = 'running';

-- name: insert_logs
-- Store lines that jobs wrote.
INSERT INTO embedq_logs ({columns:log_line}) {rows:log_line};

-- name: running_of_server
-- The jobs of a process that stopped or died.
SELECT id, claim, attempt, name, queue, executor, crashes_alone, run_at, started_at, cancel_requested_at, options
FROM {running_on:$1} ORDER BY id FOR UPDATE;

-- name: orphaned_servers
-- Processes that hold jobs and are not registered, so that no process has the jobs.
SELECT DISTINCT server_id FROM {running} AND started_at <= $1
    AND NOT EXISTS (SELECT 1 FROM embedq_servers WHERE id = embedq_jobs.server_id);

-- name: expired_jobs
-- Cancel what can no longer start in time: ready, parked -> cancelled.
UPDATE {by_key:jobs} SET state = 'cancelled', finished_at = $1, delete_at = $2, error = 'expired before it could start'
WHERE id IN $3[] AND {state} IN ('ready', 'parked');

-- name: expired_after
-- Of what ended in a state and whose time is up ($4), the next $5 after a place in the order of those times.
SELECT id, delete_at FROM {ended:$1} AND (delete_at, id) > ($2::bigint, $3::bigint) AND delete_at <= $4
ORDER BY delete_at, id LIMIT $5;

-- name: prunable_jobs
-- Those of these jobs whose time is up and that may go. A parent is kept while a child still waits for it or may read its
-- result. The newest job is kept so that its id, the highest, is not given again.
SELECT id FROM embedq_jobs AS job
WHERE id IN $1[] AND delete_at + 0 <= $2 AND NOT EXISTS (SELECT 1 FROM {children_of_job} AND child.delete_at IS NULL)
    AND id < (SELECT max(id) FROM embedq_jobs)
FOR UPDATE OF job SKIP LOCKED;

-- name: delete_jobs
-- Delete them. Looked at again: a child may have come between the look and the lock. None can come any more.
DELETE FROM embedq_jobs AS job
WHERE id IN $1[] AND NOT EXISTS (SELECT 1 FROM {children_of_job} AND child.delete_at IS NULL);

-- name: delete_attempts
-- Delete the attempts of those that are gone.
DELETE FROM embedq_attempts
WHERE job_id IN $1[] AND NOT EXISTS (SELECT 1 FROM embedq_jobs WHERE id = job_id);

-- name: delete_logs
-- Delete the lines of those that are gone.
DELETE FROM embedq_logs
WHERE job_id IN $1[] AND NOT EXISTS (SELECT 1 FROM embedq_jobs WHERE id = job_id);
