-- Statements of storage/actions.py, bulk.py and location_requests.py: the audit log, what people do to many jobs at
-- once, and where a process has a job.

-- name: insert_action
-- Write a line of the audit log.
INSERT INTO embedq_actions ({columns:action}) VALUES ({values:action}) RETURNING id;

-- name: action
-- One line.
SELECT id, {columns:action}, run, stands_at FROM embedq_actions WHERE id = $1;

-- name: actions
-- The lines before one, the newest first.
SELECT id, {columns:action}, run, stands_at FROM embedq_actions WHERE id < $1 ORDER BY id DESC LIMIT $2;

-- name: advance_action
-- Record a batch of an action. The run keeps a process that was given up on from continuing beside the one that took the
-- action up.
UPDATE embedq_actions SET changed = changed + $1, skipped = skipped + $2, reason = coalesce($3, reason), stands_at = $4,
    updated_at = $5
WHERE id = $6 AND run = $7 AND state = 'running';

-- name: end_action
-- Record how an action ended.
UPDATE embedq_actions SET state = $1, error = $2, finished_at = $3, updated_at = $3
WHERE id = $4 AND run = $5 AND state = 'running';

-- name: resume_action
-- Take an action up again; a second process that does so changes nothing.
UPDATE embedq_actions SET state = 'running', run = run + 1, error = NULL, finished_at = NULL, process = $1, updated_at = $2
WHERE id = $3 AND run = $4;

-- name: delete_actions
-- Prune the audit log, some lines at a time.
DELETE FROM embedq_actions WHERE id IN (SELECT id FROM embedq_actions WHERE at < $1 ORDER BY id LIMIT $2);

-- name: run_jobs_now
-- notify: jobs
-- Let jobs be due now: scheduled, retrying -> ready.
UPDATE {by_key:jobs} SET state = 'ready', run_at = $1 WHERE id IN $2[] AND {state} IN ('scheduled', 'retrying');

-- name: move_jobs
-- notify: jobs
-- Give waiting jobs another queue or priority; NULL keeps what each has. A job that is parked because its queue is paused
-- is ready in the other one. In this order, since MySQL uses what has been set before.
UPDATE {by_key:jobs} SET queue = coalesce($1, queue), priority = coalesce($2, priority),
    state = CASE WHEN $1 IS NOT NULL AND {state} = 'parked' AND needs LIKE 'hold queue %' THEN 'ready' ELSE state END,
    needs = CASE WHEN $1 IS NOT NULL AND needs LIKE 'hold queue %' THEN NULL ELSE needs END
WHERE id IN $3[] AND {state} IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: jobs_to_delete
-- The jobs that are to be deleted by hand, locked in order.
SELECT id, state FROM {by_key:jobs} WHERE id IN $1[] ORDER BY id FOR UPDATE;

-- name: unended_children
-- The children that keep their parents from being deleted.
SELECT id, parent_id, state FROM {children_of:IN $1[]} AND delete_at IS NULL;

-- name: newest_job
-- The highest id, which must not be given again.
SELECT max(id) FROM embedq_jobs;

-- name: runs_at
-- Which process runs a job, if one does.
SELECT state, server_id FROM embedq_jobs WHERE id = $1;

-- name: insert_question
-- Request from a process where a job of its is.
INSERT INTO embedq_questions (server_id, job_id, asked_at) VALUES ($1, $2, $3) RETURNING id;

-- name: open_questions
-- The questions that a process has to answer.
SELECT id, job_id FROM embedq_questions WHERE server_id = $1 AND answer IS NULL;

-- name: answer_question
-- Answer one.
UPDATE embedq_questions SET answer = $1 WHERE id = $2;

-- name: question_answer
-- The answer, NULL until there is one.
SELECT answer FROM embedq_questions WHERE id = $1;

-- name: delete_question
-- Remove a question that was answered, or waited for long enough.
DELETE FROM embedq_questions WHERE id = $1;

-- name: forget_questions
-- Remove those whose processes no longer wait for them.
DELETE FROM embedq_questions WHERE asked_at < $1;
