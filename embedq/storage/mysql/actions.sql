-- Statements of storage/actions.py, bulk.py and questions.py: the audit log, what people do to many jobs at once, and
-- what one process asks another.

-- name: insert_action
INSERT INTO embedq_actions (at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped,
    reason, error, process, updated_at, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: action
SELECT id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped, reason, error,
    process, updated_at, finished_at, run, stands_at
FROM embedq_actions WHERE id = $1;

-- name: actions
SELECT id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped, reason, error,
    process, updated_at, finished_at, run, stands_at
FROM embedq_actions WHERE id < $1 ORDER BY id DESC LIMIT $2;

-- name: advance_action
-- The run keeps a process that was given up on from going on beside the one that took the action up.
UPDATE embedq_actions SET changed = changed + $1, skipped = skipped + $2, reason = coalesce($3, reason), stands_at = $4,
    updated_at = $5
WHERE id = $6 AND run = $7 AND state = 'running';

-- name: end_action
UPDATE embedq_actions SET state = $1, error = $2, finished_at = $3, updated_at = $3
WHERE id = $4 AND run = $5 AND state = 'running';

-- name: resume_action
UPDATE embedq_actions SET state = 'running', run = run + 1, error = NULL, finished_at = NULL, process = $1, updated_at = $2
WHERE id = $3 AND run = $4;

-- name: delete_actions
DELETE FROM embedq_actions WHERE at < $1 ORDER BY id LIMIT $2;

-- name: run_jobs_now
-- scheduled, retrying -> ready
UPDATE embedq_jobs SET state = 'ready', run_at = $1 WHERE id IN $2[] AND state IN ('scheduled', 'retrying');

-- name: move_jobs
UPDATE embedq_jobs SET queue = coalesce($1, queue), priority = coalesce($2, priority)
WHERE id IN $3[] AND state IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: jobs_to_delete
SELECT id, state FROM embedq_jobs WHERE id IN $1[] ORDER BY id FOR UPDATE;

-- name: unended_children
SELECT id, parent_id, state FROM embedq_jobs FORCE INDEX (embedq_jobs_parent) WHERE parent_id IN $1[] AND delete_at IS NULL;

-- name: newest_job
SELECT max(id) FROM embedq_jobs;

-- name: runs_at
SELECT state, server_id FROM embedq_jobs WHERE id = $1;

-- name: insert_question
INSERT INTO embedq_questions (server_id, job_id, asked_at) VALUES ($1, $2, $3);

-- name: open_questions
SELECT id, job_id FROM embedq_questions WHERE server_id = $1 AND answer IS NULL;

-- name: answer_question
UPDATE embedq_questions SET answer = $1 WHERE id = $2;

-- name: question_answer
SELECT answer FROM embedq_questions WHERE id = $1;

-- name: delete_question
DELETE FROM embedq_questions WHERE id = $1;

-- name: forget_questions
DELETE FROM embedq_questions WHERE asked_at < $1;
