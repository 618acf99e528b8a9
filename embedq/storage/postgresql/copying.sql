-- Statements of storage/copying.py, by the names and with the columns of the SQLite ones. Rows to insert come as one
-- JSON text, a list of lists.

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
SELECT (r ->> 0)::bigint, r ->> 1, r ->> 2, r ->> 3, (r ->> 4)::bigint, r ->> 5, r ->> 6, r ->> 7, r ->> 8, r ->> 9,
    r ->> 10, (r ->> 11)::bigint, r ->> 12, r ->> 13, (r ->> 14)::bigint, (r ->> 15)::bigint, (r ->> 16)::bigint,
    (r ->> 17)::bigint, (r ->> 18)::bigint, (r ->> 19)::bigint, (r ->> 20)::bigint, (r ->> 21)::bigint,
    (r ->> 22)::bigint, (r ->> 23)::bigint, (r ->> 24)::bigint, (r ->> 25)::bigint, (r ->> 26)::bigint, r ->> 27,
    r ->> 28, r ->> 29, (r ->> 30)::double precision, r ->> 31
FROM jsonb_array_elements($1::jsonb) AS given (r);

-- name: copied_attempts
SELECT job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback
FROM embedq_attempts;

-- name: copy_attempts
INSERT INTO embedq_attempts (job_id, claim, attempt, ending, started_at, finished_at, server_id, error, traceback)
SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, (r ->> 2)::bigint, r ->> 3, (r ->> 4)::bigint, (r ->> 5)::bigint,
    (r ->> 6)::bigint, r ->> 7, r ->> 8
FROM jsonb_array_elements($1::jsonb) AS given (r);

-- name: copied_logs
SELECT id, job_id, at, attempt, message
FROM embedq_logs;

-- name: copy_logs
INSERT INTO embedq_logs (id, job_id, at, attempt, message)
SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, (r ->> 2)::bigint, (r ->> 3)::bigint, r ->> 4
FROM jsonb_array_elements($1::jsonb) AS given (r);

-- name: copied_schedules
SELECT name, spec, misfire, task, template, next_fire_at, due_at, last_fire_at, last_job_id, paused_at, error,
    created_at, updated_at
FROM embedq_schedules;

-- name: copy_schedules
INSERT INTO embedq_schedules (name, spec, misfire, task, template, next_fire_at, due_at, last_fire_at, last_job_id,
    paused_at, error, created_at, updated_at)
SELECT r ->> 0, r ->> 1, r ->> 2, r ->> 3, r ->> 4, (r ->> 5)::bigint, (r ->> 6)::bigint, (r ->> 7)::bigint,
    (r ->> 8)::bigint, (r ->> 9)::bigint, r ->> 10, (r ->> 11)::bigint, (r ->> 12)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (r);

-- name: copied_occurrences
SELECT schedule, fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at
FROM embedq_occurrences;

-- name: copy_occurrences
INSERT INTO embedq_occurrences (schedule, fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at)
SELECT r ->> 0, (r ->> 1)::bigint, r ->> 2, (r ->> 3)::bigint, (r ->> 4)::bigint, (r ->> 5)::bigint, r ->> 6,
    (r ->> 7)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (r);

-- name: copied_actions
SELECT id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed, skipped, reason, error,
    process, run, stands_at, updated_at, finished_at
FROM embedq_actions;

-- name: copy_actions
INSERT INTO embedq_actions (id, at, actor, verb, subject, search, details, state, expected, expected_capped, changed,
    skipped, reason, error, process, run, stands_at, updated_at, finished_at)
SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, r ->> 2, r ->> 3, r ->> 4, r ->> 5, r ->> 6, r ->> 7,
    (r ->> 8)::bigint, (r ->> 9)::bigint, (r ->> 10)::bigint, (r ->> 11)::bigint, r ->> 12, r ->> 13, r ->> 14,
    (r ->> 15)::bigint, r ->> 16, (r ->> 17)::bigint, (r ->> 18)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (r);

-- name: copied_counters
SELECT minute, name, queue, ending, backend, jobs, ran_us, waited_us, cpu_us
FROM embedq_counters;

-- name: copy_counters
INSERT INTO embedq_counters (minute, name, queue, ending, backend, jobs, ran_us, waited_us, cpu_us)
SELECT (r ->> 0)::bigint, r ->> 1, r ->> 2, r ->> 3, (r ->> 4)::bigint, (r ->> 5)::bigint, (r ->> 6)::bigint,
    (r ->> 7)::bigint, (r ->> 8)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (r);

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
-- Rows that bring their ids leave the sequences where they are. Jobs, log lines, processes, actions.
SELECT setval(sequence, greatest(number, coalesce(pg_sequence_last_value(sequence), 0)) + 1, false)
FROM (VALUES (pg_get_serial_sequence('embedq_jobs', 'id')::regclass, $1::bigint),
             (pg_get_serial_sequence('embedq_logs', 'id')::regclass, $2::bigint),
             (pg_get_serial_sequence('embedq_servers', 'id')::regclass, $3::bigint),
             (pg_get_serial_sequence('embedq_actions', 'id')::regclass,
              (SELECT coalesce(max(id), 0) FROM embedq_actions))) AS given (sequence, number);

-- name: drop_number
DELETE FROM embedq_servers WHERE uuid = 'copied';
