-- Statements of storage/inspect.py: what people look at. Never read by the engine.

-- name: job
SELECT id, state, name, payload, code, queue, executor, priority, tags, idempotency_key, parent_id, trigger,
    schedule, created_at, run_at, expires_at, started_at, finished_at, delete_at, attempt, crashes,
    cancel_requested_at IS NOT NULL, overdue_at IS NOT NULL, server_id, error, result, progress, progress_note
FROM embedq_jobs WHERE id = ?;

-- name: attempts
SELECT attempt, ending, started_at, finished_at, error, traceback, server_id
FROM embedq_attempts WHERE job_id = ? ORDER BY claim;

-- name: last_traceback
SELECT traceback FROM embedq_attempts WHERE job_id = ? ORDER BY claim DESC LIMIT 1;

-- name: outcome
SELECT state, result, error FROM embedq_jobs WHERE id = ?;

-- name: logs
SELECT at, attempt, message FROM embedq_logs WHERE job_id = ? ORDER BY id;

-- name: children
SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_children WHERE parent_id = ? ORDER BY id;

-- name: servers
SELECT s.id, s.uuid, s.hostname, s.pid, s.version, s.workers, s.queues, s.started_at, s.heartbeat_at, s.stopping_at,
    (SELECT count(*) FROM embedq_jobs INDEXED BY embedq_jobs_running WHERE state = 'running' AND server_id = s.id),
    EXISTS (SELECT 1 FROM embedq_leases WHERE holder = s.id)
FROM embedq_servers AS s ORDER BY s.id;

-- name: schedules
SELECT name, spec, misfire, task, template, next_fire_at, last_fire_at, last_job_id, paused_at, error, created_at, updated_at
FROM embedq_schedules ORDER BY name;

-- name: occurrences
SELECT fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at
FROM embedq_occurrences WHERE schedule = ? ORDER BY fire_at DESC LIMIT ?;

-- name: count_ready
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_ready WHERE state = 'ready' AND crashes < 2 LIMIT ?);

-- name: count_suspect
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_suspect WHERE state = 'ready' AND crashes >= 2 LIMIT ?);

-- name: count_running
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_running WHERE state = 'running' LIMIT ?);

-- name: count_parked
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_parked WHERE state = 'parked' LIMIT ?);

-- name: count_awaiting
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_awaiting WHERE state = 'awaiting' LIMIT ?);

-- name: count_ended
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_ended
                      WHERE delete_at IS NOT NULL AND state = ? LIMIT ?);

-- name: parked_needs
SELECT DISTINCT needs FROM embedq_jobs INDEXED BY embedq_jobs_parked WHERE state = 'parked';

-- name: news
-- What a dispatcher must know when somebody else has written: which of the running jobs of a server (?1) are to be
-- cancelled; whether a job is ready in these queues (?2, a JSON list, or NULL for all), and for which executors a suspect
-- is; and when the next job is due.
SELECT 'cancel', NULL, id, claim FROM embedq_jobs INDEXED BY embedq_jobs_cancelling
WHERE state = 'running' AND cancel_requested_at IS NOT NULL AND server_id = ?1
UNION ALL
SELECT 'ready', NULL, NULL, NULL
WHERE CASE WHEN ?2 IS NULL
    THEN (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_ready WHERE state = 'ready' AND crashes < 2 LIMIT 1)
    ELSE (SELECT 1 FROM json_each(?2) AS given, json_each('["thread", "async", "process"]') AS one
          WHERE (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_ready
                 WHERE state = 'ready' AND crashes < 2 AND executor = one.value AND queue = given.value LIMIT 1)
          LIMIT 1) END
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM embedq_jobs INDEXED BY embedq_jobs_suspect
WHERE state = 'ready' AND crashes >= 2 AND (?2 IS NULL OR queue IN (SELECT value FROM json_each(?2)))
UNION ALL
SELECT * FROM (SELECT 'due', NULL, run_at, NULL FROM embedq_jobs INDEXED BY embedq_jobs_due
               WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1);

-- name: totals
SELECT ending, sum(jobs), sum(ran_us), sum(waited_us) FROM embedq_counters WHERE minute >= ? GROUP BY ending;

-- name: oldest_ready
SELECT queue, min(run_at) FROM (SELECT queue, run_at FROM embedq_jobs INDEXED BY embedq_jobs_ready
    WHERE state = 'ready' AND crashes < 2 LIMIT ?) GROUP BY queue;

-- Parts of the searches that storage/inspect.py composes.

-- name: job_columns
id, state, name, payload, code, queue, executor, priority, tags, idempotency_key, parent_id, trigger, schedule,
created_at, run_at, expires_at, started_at, finished_at, delete_at, attempt, crashes, cancel_requested_at IS NOT NULL,
overdue_at IS NOT NULL, server_id, error, result, progress, progress_note;

-- name: has_tag
EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(tags) THEN tags END) WHERE value = ?);

-- name: error_contains
instr(error, ?) > 0;

-- name: ids_ready
SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_ready WHERE state = 'ready' AND crashes < 2 LIMIT ?;

-- name: ids_suspect
SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_suspect WHERE state = 'ready' AND crashes >= 2 LIMIT ?;

-- name: ids_running
SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_running WHERE state = 'running' LIMIT ?;

-- name: ids_parked
SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_parked WHERE state = 'parked' LIMIT ?;

-- name: ids_awaiting
SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_awaiting WHERE state = 'awaiting' LIMIT ?;

-- name: ids_children
SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_children WHERE parent_id = ? LIMIT ?;

-- name: ids_scheduled_by
SELECT job_id FROM embedq_occurrences WHERE schedule = ? AND job_id IS NOT NULL ORDER BY fire_at DESC LIMIT ?;

-- name: all_jobs
-- The walks of storage/inspect/walks.py: a table by an index, each with a condition to which others are added.
embedq_jobs NOT INDEXED WHERE 1 = 1;

-- name: ended_jobs
embedq_jobs INDEXED BY embedq_jobs_finished WHERE finished_at IS NOT NULL AND state = ?;

-- name: due_jobs
embedq_jobs INDEXED BY embedq_jobs_due WHERE state IN ('scheduled', 'retrying');

-- name: due_key
run_at;

-- name: payload_contains
instr(payload, ?) > 0;

-- name: logs_after
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?;

-- name: logs_latest
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = ? ORDER BY id DESC LIMIT ?;

-- name: relative
SELECT id, name, state, parent_id, trigger FROM embedq_jobs WHERE id = ?;

-- name: child_relatives
SELECT id, name, state, parent_id, trigger FROM embedq_jobs INDEXED BY embedq_jobs_children WHERE parent_id = ? ORDER BY id LIMIT ?;

-- name: cancel_asked_at
SELECT cancel_requested_at FROM embedq_jobs WHERE id = ?;

-- name: running_jobs
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM embedq_jobs INDEXED BY embedq_jobs_running WHERE state = 'running' LIMIT ?;

-- name: running_jobs_of
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM embedq_jobs INDEXED BY embedq_jobs_running WHERE state = 'running' AND server_id = ? LIMIT ?;

-- name: queue_line
SELECT min(run_at) FROM (SELECT run_at FROM embedq_jobs INDEXED BY embedq_jobs_ready
    WHERE state = 'ready' AND crashes < 2 AND executor = ? AND queue = ? ORDER BY priority DESC, id LIMIT ?) AS line;

-- name: queue_levels
-- When the first job of each priority was due, by skipping from one priority to the next; of fifty at most.
WITH RECURSIVE level (place, number) AS (
    SELECT (SELECT priority FROM embedq_jobs INDEXED BY embedq_jobs_ready
            WHERE state = 'ready' AND crashes < 2 AND executor = ?1 AND queue = ?2 ORDER BY priority DESC LIMIT 1), 1
    UNION ALL
    SELECT (SELECT priority FROM embedq_jobs INDEXED BY embedq_jobs_ready
            WHERE state = 'ready' AND crashes < 2 AND executor = ?1 AND queue = ?2 AND priority < level.place
            ORDER BY priority DESC LIMIT 1), number + 1
    FROM level WHERE level.place IS NOT NULL AND number < 50
)
SELECT min((SELECT run_at FROM embedq_jobs INDEXED BY embedq_jobs_ready
            WHERE state = 'ready' AND crashes < 2 AND executor = ?1 AND queue = ?2 AND priority = level.place
            ORDER BY id LIMIT 1))
FROM level WHERE level.place IS NOT NULL;

-- name: queue_ready
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs INDEXED BY embedq_jobs_ready
    WHERE state = 'ready' AND crashes < 2 AND executor = ? AND queue = ? LIMIT ?) AS found;

-- name: queue_suspects
SELECT queue, count(*), min(run_at) FROM (SELECT queue, run_at FROM embedq_jobs INDEXED BY embedq_jobs_suspect
    WHERE state = 'ready' AND crashes >= 2 LIMIT ?) AS found GROUP BY queue;

-- name: due_by_queue
-- Of the first so many: the index knows neither state nor queue.
SELECT state, queue, count(*) FROM (SELECT state, queue FROM embedq_jobs INDEXED BY embedq_jobs_due
    WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT ?) AS found GROUP BY state, queue;

-- name: recent_failures
SELECT attempt.error, attempt.finished_at, attempt.job_id, job.name
FROM (SELECT substr(error, 1, 1000) AS error, finished_at, job_id FROM embedq_attempts INDEXED BY embedq_attempts_finished
      WHERE finished_at >= ? AND ending IN ('failed', 'timed out', 'crashed')
      ORDER BY finished_at DESC LIMIT ?) AS attempt
LEFT JOIN embedq_jobs AS job ON job.id = attempt.job_id
ORDER BY attempt.finished_at DESC;

-- name: parked_groups
SELECT needs, count(*), min(created_at), min(id) FROM (SELECT needs, created_at, id FROM embedq_jobs INDEXED BY embedq_jobs_parked
    WHERE state = 'parked' LIMIT ?) AS found GROUP BY needs;

-- name: minute_bar
minute / ?;

-- name: ended_sums
ending, sum(jobs), sum(ran_us), sum(waited_us), sum(cpu_us)
FROM embedq_counters WHERE minute >= ?;
