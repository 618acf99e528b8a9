-- Statements of storage/schedules.py: recurring jobs and the ledger of their occurrences.

-- name: schedule
-- One schedule. Locked where its turn is taken: two processes that both believe they lead take theirs one after the other.
SELECT {columns:schedule} FROM embedq_schedules WHERE name = $1 FOR UPDATE;

-- name: schedules_named
-- The schedules of these names, to look at.
SELECT {columns:schedule} FROM embedq_schedules WHERE name IN $1[text];

-- name: schedules_to_put
-- The schedules of these names, to be changed; in order, so that no two processes wait for each other.
SELECT {columns:schedule} FROM {by_key:schedules} WHERE name IN $1[text] ORDER BY name
FOR UPDATE;

-- name: schedules_to_fire
-- The schedules of these names, to be fired. One that is locked is being changed, and takes its turn at the next look.
SELECT {columns:schedule} FROM {by_key:schedules} WHERE name IN $1[text] ORDER BY name
FOR UPDATE SKIP LOCKED;

-- name: insert_schedule
-- exact
-- Add a schedule. When two processes add it at the same moment the second one's definition stands, as if it had come
-- later.
INSERT INTO embedq_schedules (name, spec, misfire, task, template, overlap, next_fire_at, due_at, created_at,
    updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
ON CONFLICT (name) DO UPDATE
SET spec = excluded.spec, misfire = excluded.misfire, task = excluded.task, template = excluded.template,
    overlap = excluded.overlap, updated_at = excluded.updated_at, error = NULL,
    next_fire_at = CASE WHEN embedq_schedules.spec = excluded.spec THEN embedq_schedules.next_fire_at
                        ELSE excluded.next_fire_at END,
    due_at = CASE WHEN embedq_schedules.spec = excluded.spec THEN embedq_schedules.next_fire_at
                  ELSE excluded.next_fire_at END;

-- name: update_schedule
-- Change the definition of a schedule, and when it is next due.
UPDATE embedq_schedules SET spec = $1, misfire = $2, task = $3, template = $4, overlap = $5, next_fire_at = $6,
    due_at = $6, updated_at = $7, error = NULL
WHERE name = $8;

-- name: declared_schedules
-- The schedules of a set, in order of the locks that changing them takes.
SELECT name FROM embedq_schedules WHERE declared_in = $1 ORDER BY name;

-- name: declare_schedules
-- Record that the code declares these.
UPDATE {by_key:schedules} SET declared_in = $1, missing_since = NULL
WHERE name IN $2[text] AND (declared_in IS NULL OR declared_in <> $1 OR missing_since IS NOT NULL);

-- name: miss_schedule
-- Record that the code does not declare it any more.
UPDATE embedq_schedules SET missing_since = $1 WHERE name = $2 AND missing_since IS NULL;

-- name: delete_schedule
-- Remove a schedule; its ledger stays until it is pruned.
DELETE FROM embedq_schedules WHERE name = $1;

-- name: pause_schedule
-- Pause a schedule that is not paused.
UPDATE embedq_schedules SET paused_at = $1, updated_at = $2 WHERE name = $3 AND paused_at IS NULL;

-- name: resume_schedule
-- Resume a paused schedule; the occurrences that passed meanwhile are left out.
UPDATE embedq_schedules SET paused_at = NULL, next_fire_at = $1, due_at = $1, updated_at = $2
WHERE name = $3 AND paused_at IS NOT NULL;

-- name: due_schedules
-- The schedules that are due, with the length of what each enqueues, those that have waited longest first.
SELECT name, octet_length(template) FROM {unpaused} AND due_at <= $1 ORDER BY due_at LIMIT $2;

-- name: latest_due_schedules
-- The same, those that became due last first: a schedule that is late again and again must not keep others waiting.
SELECT name, octet_length(template) FROM {unpaused} AND due_at <= $1 ORDER BY due_at DESC LIMIT $2;

-- name: waiting_schedules
-- The schedules that are not due yet, whose next occurrence is computed again after the clock was set.
SELECT name, spec, next_fire_at, due_at FROM {unpaused} AND due_at > $1;

-- name: next_fire
-- When the leader must wake up.
SELECT due_at FROM {unpaused} ORDER BY due_at LIMIT 1;

-- name: recorded_occurrences
-- Of these occurrences, a JSON list of schedules and instants, those that have a line.
SELECT schedule, fire_at, outcome FROM embedq_occurrences
WHERE (schedule, fire_at) IN (SELECT value ->> 0, (value ->> 1)::bigint FROM {elements:$1});

-- name: record_occurrences
-- Record occurrences that have no line yet, as a JSON list of rows.
INSERT INTO embedq_occurrences ({columns:occurrences}) SELECT {fields:occurrences} FROM {elements:$1};

-- name: record_occurrence
-- Record one occurrence. The primary key (schedule, fire_at) is promise G5: the second process to record it records
-- nothing. Only the lines of a run by hand and of a changed schedule give way: one may stand at the very instant of an
-- occurrence, which must not be lost by it.
INSERT INTO embedq_occurrences ({columns:occurrences}) VALUES ({values:occurrences})
ON CONFLICT (schedule, fire_at) DO UPDATE
SET outcome = excluded.outcome, last_fire_at = excluded.last_fire_at, occurrences = excluded.occurrences,
    job_id = excluded.job_id, reason = excluded.reason, recorded_at = excluded.recorded_at
WHERE embedq_occurrences.outcome IN ('triggered', 'changed') AND excluded.outcome NOT IN ('triggered', 'changed');

-- name: set_occurrence_job
-- Name the job in its line, once it has an id.
UPDATE embedq_occurrences SET job_id = $1 WHERE schedule = $2 AND fire_at = $3;

-- name: advance_schedule
-- Move a schedule on to its next occurrence.
UPDATE embedq_schedules SET next_fire_at = $1, due_at = $1, last_fire_at = coalesce($2, last_fire_at),
    last_job_id = coalesce($3, last_job_id), runs = $4, skipped = $5, error = NULL
WHERE name = $6;

-- name: set_runs
-- Change which of its runs have not ended.
UPDATE embedq_schedules SET runs = $1 WHERE name = $2;

-- name: advance_schedules
-- The same for a JSON list of rows that begin with the name.
UPDATE embedq_schedules SET next_fire_at = done.next_fire_at, due_at = done.next_fire_at,
    last_fire_at = coalesce(done.last_fire_at, embedq_schedules.last_fire_at),
    last_job_id = coalesce(done.last_job_id, embedq_schedules.last_job_id), runs = done.runs, skipped = done.skipped,
    error = NULL
FROM (SELECT value ->> 0 AS name, (value ->> 1)::bigint AS next_fire_at, (value ->> 2)::bigint AS last_fire_at,
             (value ->> 3)::bigint AS last_job_id, value ->> 4 AS runs, (value ->> 5)::bigint AS skipped
      FROM {elements:$1}) AS done
WHERE embedq_schedules.name = done.name;

-- name: fail_schedule
-- Record why a schedule could not be fired. It is out of the way of the others until the time given; its next occurrence
-- stays the one that is due.
UPDATE embedq_schedules SET error = $1, due_at = greatest(due_at, $2) WHERE name = $3;

-- name: delete_occurrences
-- Prune the ledger, some lines at a time.
DELETE FROM embedq_occurrences WHERE (schedule, fire_at) IN (
    SELECT schedule, fire_at FROM embedq_occurrences {by:embedq_occurrences_recorded}
    WHERE recorded_at < $1 ORDER BY recorded_at LIMIT $2);

-- name: delete_counters
-- Prune the counters.
DELETE FROM embedq_counters WHERE minute < $1;

-- name: finest_counter
-- Where the oldest rows begin that are for less than so many minutes.
SELECT min(minute) FROM embedq_counters WHERE minute < $2 AND (minute % $1 <> 0 OR backend <> 0);

-- name: counters_between
-- The counters of a span, to be added up into coarser ones.
SELECT name, queue, ending, jobs, ran_us, waited_us, cpu_us FROM embedq_counters WHERE minute >= $1 AND minute < $2;

-- name: delete_counters_between
-- Remove those that have been added up.
DELETE FROM embedq_counters WHERE minute >= $1 AND minute < $2;
