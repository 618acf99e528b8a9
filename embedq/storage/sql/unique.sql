-- Statements of storage/unique.py: which job has which unique key.

-- name: unique_holders
-- The jobs that took these keys last. Not locked: the jobs are locked before the keys.
SELECT unique_key, job_id FROM embedq_unique_keys WHERE unique_key IN $1[text];

-- name: unique_jobs
-- Those jobs, locked in order.
SELECT id, state, created_at FROM {by_key:jobs} WHERE id IN $1[] ORDER BY id FOR UPDATE;

-- name: reserve_unique_key
-- See that a key has a row, of no job if no job took it.
INSERT INTO embedq_unique_keys (unique_key, job_id, until) VALUES ($1, 0, 0) ON CONFLICT (unique_key) DO NOTHING;

-- name: unique_key
-- Lock a key.
SELECT job_id, until FROM embedq_unique_keys WHERE unique_key = $1 FOR UPDATE;

-- name: take_unique_key
-- Record which job has a key.
UPDATE embedq_unique_keys SET job_id = $1, until = $2 WHERE unique_key = $3;

-- name: replace_job
-- notify: jobs
-- Give a waiting job other arguments, and if it waits for its time another one; NULL keeps that. In this order, since MySQL
-- uses what has been set before.
UPDATE {by_key:jobs} SET payload = $1, code = $2, expires_at = $3::bigint,
    run_at = CASE WHEN {state} = 'scheduled' THEN coalesce($4::bigint, run_at) ELSE run_at END
WHERE id = $5 AND {state} IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: state_of_job
-- The state of a job, as it stands; not locked.
SELECT state FROM embedq_jobs WHERE id = $1;

-- name: forget_unique_keys
-- Free the keys of jobs that are deleted by hand.
DELETE FROM embedq_unique_keys WHERE job_id IN $1[];

-- name: idle_unique_keys
-- Keys whose period is over and whose jobs have ended, or are gone.
SELECT unique_key FROM embedq_unique_keys AS held
WHERE until < $1 AND NOT EXISTS (
    SELECT 1 FROM embedq_jobs AS job
    WHERE job.id = held.job_id AND job.state IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked', 'running'))
ORDER BY until LIMIT $2;

-- name: delete_unique_keys
-- Remove them. One that was taken meanwhile has a later end.
DELETE FROM embedq_unique_keys WHERE unique_key IN $1[text] AND until < $2;
