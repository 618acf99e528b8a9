-- Statements of storage/copying.py: whole rows out of one database and into another. Every backend has the columns of
-- a table in the same order, the key's first, so that a row that is read here can be written there.

-- name: copied_jobs
SELECT id, state, executor, queue, priority, name, payload, code, options, tags, idempotency_key, parent_id, trigger,
    schedule, created_at, run_at, expires_at, first_started_at, started_at, finished_at, delete_at, attempt, claim,
    crashes, server_id, cancel_requested_at, overdue_at, needs, error, result, progress, progress_note
FROM embedq_jobs;

-- name: copy_jobs
INSERT INTO embedq_jobs (id, state, executor, queue, priority, name, payload, code, options, tags, idempotency_key,
    parent_id, trigger, schedule, created_at, run_at, expires_at, first_started_at, started_at, finished_at,
    delete_at, attempt, claim, crashes, server_id, cancel_requested_at, overdue_at, needs, error, result, progress,
    progress_note)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: copied_attempts
SELECT job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback
FROM embedq_attempts;

-- name: copy_attempts
INSERT INTO embedq_attempts (job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: copied_logs
SELECT id, job_id, at, attempt, message
FROM embedq_logs;

-- name: copy_logs
INSERT INTO embedq_logs (id, job_id, at, attempt, message)
VALUES (?, ?, ?, ?, ?);

-- name: copied_schedules
SELECT name, spec, misfire, task, template, next_fire_at, due_at, last_fire_at, last_job_id, paused_at, error,
    created_at, updated_at
FROM embedq_schedules;

-- name: copy_schedules
INSERT INTO embedq_schedules (name, spec, misfire, task, template, next_fire_at, due_at, last_fire_at, last_job_id,
    paused_at, error, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: copied_occurrences
SELECT schedule, fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at
FROM embedq_occurrences;

-- name: copy_occurrences
INSERT INTO embedq_occurrences (schedule, fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: copied_actions
SELECT id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped, reason, error,
    process, run, stands_at, updated_at, finished_at
FROM embedq_actions;

-- name: copy_actions
INSERT INTO embedq_actions (id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed,
    skipped, reason, error, process, run, stands_at, updated_at, finished_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: copied_counters
-- The connection that counted, on the servers: there each has a row of its own.
SELECT minute, name, queue, ending, 0 AS backend, jobs, ran_us, waited_us, cpu_us
FROM embedq_counters;

-- name: copy_counters
-- What several connections counted becomes one row.
INSERT INTO embedq_counters (minute, name, queue, ending, jobs, ran_us, waited_us, cpu_us)
SELECT ?1, ?2, ?3, ?4, ?6, ?7, ?8, ?9 WHERE ?5 IS NOT NULL
ON CONFLICT (minute, name, queue, ending) DO UPDATE
SET jobs = jobs + excluded.jobs, ran_us = ran_us + excluded.ran_us, waited_us = waited_us + excluded.waited_us,
    cpu_us = cpu_us + excluded.cpu_us;

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
VALUES (?, ?, ?, 0, 0, ?);

-- name: advance_copy
-- The number of batches is the fence: of two processes that copy at once the second changes nothing.
UPDATE embedq_copies SET stands_at = ?, last_key = ?, batches = batches + 1, replaced = replaced + ?
WHERE source = ? AND batches = ?;

-- name: end_copy
DELETE FROM embedq_copies;

-- name: raise_numbers
-- Jobs and log lines number on from the highest that is there. Of processes the rows are not copied, and their numbers
-- must not be given again: a row that comes and goes sees to that.
INSERT INTO embedq_servers (id, uuid, host, hostname, pid, version, workers, started_at, heartbeat_at)
SELECT ?3, 'copied', '', '', 0, '', 0, 0, 0
WHERE ?3 > (SELECT coalesce(max(id), 0) FROM embedq_servers AS known);

-- name: drop_number
DELETE FROM embedq_servers WHERE uuid = 'copied';
