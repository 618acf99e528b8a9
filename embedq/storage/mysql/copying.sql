-- Statements of storage/copying.py, by the names and with the columns of the SQLite ones.

-- name: copied_jobs
SELECT id, state, executor, queue, priority, name, payload, code, options, tags, idempotency_key, parent_id,
    `trigger`, schedule, created_at, run_at, expires_at, first_started_at, started_at, finished_at, delete_at,
    attempt, claim, crashes, server_id, cancel_requested_at, overdue_at, needs, error, result, progress, progress_note
FROM embedq_jobs;

-- name: copy_jobs
INSERT INTO embedq_jobs (id, state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, `trigger`, schedule, created_at, run_at, expires_at, first_started_at, started_at, finished_at,
    delete_at, attempt, claim, crashes, server_id, cancel_requested_at, overdue_at, needs, error, result, progress,
    progress_note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32);

-- name: copied_attempts
SELECT job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback
FROM embedq_attempts;

-- name: copy_attempts
INSERT INTO embedq_attempts (job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: copied_logs
SELECT id, job_id, at, attempt, message
FROM embedq_logs;

-- name: copy_logs
INSERT INTO embedq_logs (id, job_id, at, attempt, message)
VALUES ($1, $2, $3, $4, $5);

-- name: copied_schedules
SELECT name, spec, misfire, task, template, next_fire_at, due_at, last_fire_at, last_job_id, paused_at, error,
    created_at, updated_at
FROM embedq_schedules;

-- name: copy_schedules
INSERT INTO embedq_schedules (name, spec, misfire, task, template, next_fire_at, due_at, last_fire_at, last_job_id,
    paused_at, error, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: copied_occurrences
SELECT schedule, fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at
FROM embedq_occurrences;

-- name: copy_occurrences
INSERT INTO embedq_occurrences (schedule, fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: copied_actions
SELECT id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped, reason, error,
    process, run, stands_at, updated_at, finished_at
FROM embedq_actions;

-- name: copy_actions
INSERT INTO embedq_actions (id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed,
    skipped, reason, error, process, run, stands_at, updated_at, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19);

-- name: copied_counters
SELECT minute, name, queue, ending, backend, jobs, ran_us, waited_us, cpu_us
FROM embedq_counters;

-- name: copy_counters
INSERT INTO embedq_counters (minute, name, queue, ending, backend, jobs, ran_us, waited_us, cpu_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: empty_jobs
DELETE FROM embedq_jobs;

-- name: empty_attempts
DELETE FROM embedq_attempts;

-- name: empty_logs
DELETE FROM embedq_logs;

-- name: empty_schedules
DELETE FROM embedq_schedules;

-- name: empty_occurrences
DELETE FROM embedq_occurrences;

-- name: empty_actions
DELETE FROM embedq_actions;

-- name: empty_counters
DELETE FROM embedq_counters;

-- name: database_identity
SELECT id FROM embedq_identity;

-- name: copy_record
SELECT source, label, census, stands_at, last_key, batches, replaced FROM embedq_copies;

-- name: begin_copy
INSERT INTO embedq_copies (source, label, census, batches, replaced, began_at)
VALUES ($1, $2, $3, 0, 0, $4);

-- name: advance_copy
-- The number of batches is the fence: of two processes that copy at once the second changes nothing.
UPDATE embedq_copies SET stands_at = $1, last_key = $2, batches = batches + 1, replaced = replaced + $3
WHERE source = $4 AND batches = $5;

-- name: end_copy
DELETE FROM embedq_copies;

-- name: raise_numbers
-- Jobs and log lines number on from the highest that is there. Of processes the rows are not copied, and their numbers
-- must not be given again: a row that comes and goes sees to that.
INSERT INTO embedq_servers (id, uuid, host, hostname, pid, version, workers, started_at, heartbeat_at)
SELECT $3, 'copied', '', '', 0, '', 0, 0, 0 FROM DUAL
WHERE $3 > (SELECT coalesce(max(id), 0) FROM embedq_servers AS known);

-- name: drop_number
DELETE FROM embedq_servers WHERE uuid = 'copied';
