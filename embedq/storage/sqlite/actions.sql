-- Statements of storage/actions.py, bulk.py and questions.py: the audit log, what people do to many jobs at once, and
-- what one process asks another.

-- name: insert_action
INSERT INTO embedq_actions (at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped,
    reason, error, process, updated_at, finished_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: action
SELECT id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped, reason, error,
    process, updated_at, finished_at, run, stands_at
FROM embedq_actions WHERE id = ?;

-- name: actions
SELECT id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped, reason, error,
    process, updated_at, finished_at, run, stands_at
FROM embedq_actions WHERE id < ? ORDER BY id DESC LIMIT ?;

-- name: advance_action
-- The run keeps a process that was given up on from going on beside the one that took the action up.
UPDATE embedq_actions SET changed = changed + ?, skipped = skipped + ?, reason = coalesce(?, reason), stands_at = ?,
    updated_at = ?
WHERE id = ? AND run = ? AND state = 'running';

-- name: end_action
UPDATE embedq_actions SET state = ?1, error = ?2, finished_at = ?3, updated_at = ?3
WHERE id = ?4 AND run = ?5 AND state = 'running';

-- name: resume_action
UPDATE embedq_actions SET state = 'running', run = run + 1, error = NULL, finished_at = NULL, process = ?, updated_at = ?
WHERE id = ? AND run = ?;

-- name: delete_actions
DELETE FROM embedq_actions WHERE id IN (SELECT id FROM embedq_actions WHERE at < ? ORDER BY id LIMIT ?);

-- name: run_jobs_now
-- scheduled, retrying -> ready
UPDATE embedq_jobs SET state = 'ready', run_at = ? WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('scheduled', 'retrying');

-- name: move_jobs
UPDATE embedq_jobs SET queue = coalesce(?, queue), priority = coalesce(?, priority)
WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('awaiting', 'scheduled', 'ready', 'retrying', 'parked');

-- name: jobs_to_delete
SELECT id, state FROM embedq_jobs WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id;

-- name: unended_children
SELECT id, parent_id, state FROM embedq_jobs INDEXED BY embedq_jobs_children WHERE parent_id IN (SELECT value FROM json_each(?)) AND parent_id IS NOT NULL AND delete_at IS NULL;

-- name: newest_job
SELECT max(id) FROM embedq_jobs;

-- name: runs_at
SELECT state, server_id FROM embedq_jobs WHERE id = ?;

-- name: insert_question
INSERT INTO embedq_questions (server_id, job_id, asked_at) VALUES (?, ?, ?);

-- name: open_questions
SELECT id, job_id FROM embedq_questions WHERE server_id = ? AND answer IS NULL;

-- name: answer_question
UPDATE embedq_questions SET answer = ? WHERE id = ?;

-- name: question_answer
SELECT answer FROM embedq_questions WHERE id = ?;

-- name: delete_question
DELETE FROM embedq_questions WHERE id = ?;

-- name: forget_questions
DELETE FROM embedq_questions WHERE asked_at < ?;
