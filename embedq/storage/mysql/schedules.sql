-- Statements of storage/schedules.py: recurring jobs and the ledger of their occurrences.

-- name: schedule
-- Locked where its turn is taken: two processes that both believe they lead take theirs one after the other.
SELECT name, spec, misfire, task, template, next_fire_at, last_fire_at, last_job_id, paused_at, error, created_at, updated_at
FROM embedq_schedules WHERE name = $1 FOR UPDATE;

-- name: insert_schedule
-- When two processes add it at the same moment the second one's word stands, as if it had come later. Columns are set
-- from left to right, so that the spec comes last.
INSERT INTO embedq_schedules (name, spec, misfire, task, template, next_fire_at, due_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)
ON DUPLICATE KEY UPDATE misfire = $3, task = $4, template = $5, updated_at = $8, error = NULL,
    next_fire_at = IF(spec = $2, next_fire_at, $6), due_at = next_fire_at, spec = $2;

-- name: update_schedule
UPDATE embedq_schedules SET spec = $1, misfire = $2, task = $3, template = $4, next_fire_at = $5, due_at = $5,
    updated_at = $6, error = NULL
WHERE name = $7;

-- name: delete_schedule
DELETE FROM embedq_schedules WHERE name = $1;

-- name: pause_schedule
UPDATE embedq_schedules SET paused_at = $1, updated_at = $2 WHERE name = $3 AND paused_at IS NULL;

-- name: resume_schedule
UPDATE embedq_schedules SET paused_at = NULL, next_fire_at = $1, due_at = $1, updated_at = $2
WHERE name = $3 AND paused_at IS NOT NULL;

-- name: due_schedules
SELECT name FROM embedq_schedules
WHERE paused_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2;

-- name: waiting_schedules
SELECT name, spec, next_fire_at, due_at FROM embedq_schedules WHERE paused_at IS NULL;

-- name: next_fire
SELECT due_at FROM embedq_schedules
WHERE paused_at IS NULL ORDER BY due_at LIMIT 1;

-- name: record_occurrence
-- The primary key (schedule, fire_at) is promise G5: the second process to record an occurrence records nothing. Only
-- the line of a run by hand gives way: it may stand at the very instant of an occurrence, which must not be lost by it.
DELETE FROM embedq_occurrences
WHERE schedule = $1 AND fire_at = $2 AND outcome = 'triggered' AND $3 <> 'triggered';
INSERT IGNORE INTO embedq_occurrences (schedule, fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: set_occurrence_job
UPDATE embedq_occurrences SET job_id = $1 WHERE schedule = $2 AND fire_at = $3;

-- name: advance_schedule
UPDATE embedq_schedules SET next_fire_at = $1, due_at = $1, last_fire_at = coalesce($2, last_fire_at),
    last_job_id = coalesce($3, last_job_id), error = NULL
WHERE name = $4;

-- name: fail_schedule
-- Out of the way of the others until the time given; its next occurrence stays the one that is due.
UPDATE embedq_schedules SET error = $1, due_at = greatest(due_at, $2) WHERE name = $3;

-- name: delete_occurrences
DELETE FROM embedq_occurrences WHERE recorded_at < $1 ORDER BY recorded_at LIMIT $2;

-- name: delete_counters
DELETE FROM embedq_counters WHERE minute < $1;

-- name: finest_counter
-- Where the oldest rows begin that are for less than so many minutes.
SELECT min(minute) FROM embedq_counters WHERE minute < $2 AND (minute % $1 <> 0 OR backend <> 0);

-- name: counters_between
SELECT name, queue, ending, jobs, ran_us, waited_us, cpu_us FROM embedq_counters WHERE minute >= $1 AND minute < $2;

-- name: delete_counters_between
DELETE FROM embedq_counters WHERE minute >= $1 AND minute < $2;
