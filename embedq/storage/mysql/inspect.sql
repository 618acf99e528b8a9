-- Statements of storage/inspect.py: what people look at. Never read by the engine.

-- name: job
SELECT id, state, name, payload, code, queue, executor, priority, tags, idempotency_key, parent_id, `trigger`,
    schedule, created_at, run_at, expires_at, started_at, finished_at, delete_at, attempt, crashes,
    cancel_requested_at IS NOT NULL, overdue_at IS NOT NULL, server_id, error, result, progress, progress_note
FROM embedq_jobs WHERE id = $1;

-- name: attempts
SELECT attempt, ending, started_at, finished_at, error, traceback, server_id
FROM embedq_attempts WHERE job_id = $1 ORDER BY claim;

-- name: last_traceback
SELECT traceback FROM embedq_attempts WHERE job_id = $1 ORDER BY claim DESC LIMIT 1;

-- name: outcome
SELECT state, result, error FROM embedq_jobs WHERE id = $1;

-- name: logs
SELECT at, attempt, message FROM embedq_logs WHERE job_id = $1 ORDER BY id;

-- name: children
SELECT id FROM embedq_jobs WHERE parent_id = $1 ORDER BY id;

-- name: servers
SELECT s.id, s.uuid, s.hostname, s.pid, s.version, s.workers, s.queues, s.started_at, s.heartbeat_at, s.stopping_at,
    (SELECT count(*) FROM embedq_jobs WHERE lane = CONCAT('running ', s.id)),
    EXISTS (SELECT 1 FROM embedq_leases WHERE holder = s.id)
FROM embedq_servers AS s ORDER BY s.id;

-- name: schedules
SELECT name, spec, misfire, task, template, next_fire_at, last_fire_at, last_job_id, paused_at, error, created_at, updated_at
FROM embedq_schedules ORDER BY name;

-- name: occurrences
SELECT fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at
FROM embedq_occurrences WHERE schedule = $1 ORDER BY fire_at DESC LIMIT $2;

-- name: count_ready
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE lane = 'ready' LIMIT $1) AS found;

-- name: count_suspect
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE lane = 'suspect' LIMIT $1) AS found;

-- name: count_running
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE lane LIKE 'running %' LIMIT $1) AS found;

-- name: count_parked
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE lane = 'parked' LIMIT $1) AS found;

-- name: count_awaiting
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE lane = 'awaiting' LIMIT $1) AS found;

-- name: count_ended
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE ended = $1 LIMIT $2) AS found;

-- name: parked_needs
SELECT DISTINCT needs FROM embedq_jobs FORCE INDEX (embedq_jobs_parked) WHERE needs IS NOT NULL;

-- name: news
-- What a dispatcher must know when somebody else has written: which of the running jobs of a server ($1) are to be
-- cancelled; whether a job is ready in these queues ($2, a JSON list, or NULL for all), and for which executors a suspect
-- is; and when the next job is due.
SELECT 'cancel', NULL, id, claim FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane = CONCAT('running ', $1) AND cancel_requested_at IS NOT NULL
UNION ALL
SELECT 'ready', NULL, NULL, NULL FROM DUAL
WHERE CASE WHEN $2 IS NULL
    THEN (SELECT 1 FROM embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane = 'ready' LIMIT 1)
    ELSE (SELECT 1 FROM JSON_TABLE(coalesce($2, '[]'), '$[*]' COLUMNS (queue VARCHAR(255) PATH '$')) AS given,
              (SELECT 'thread' AS executor UNION ALL SELECT 'async' UNION ALL SELECT 'process') AS three
          WHERE (SELECT 1 FROM embedq_jobs AS job FORCE INDEX (embedq_jobs_lane)
                 WHERE lane = 'ready' AND job.executor = three.executor AND job.queue = given.queue LIMIT 1)
          LIMIT 1) END
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane = 'suspect' AND ($2 IS NULL OR queue IN $2[])
UNION ALL
(SELECT 'due', NULL, due_at, NULL FROM embedq_jobs FORCE INDEX (embedq_jobs_due)
 WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1);

-- name: totals
SELECT ending, CAST(sum(jobs) AS SIGNED), CAST(sum(ran_us) AS SIGNED), CAST(sum(waited_us) AS SIGNED)
FROM embedq_counters WHERE minute >= $1 GROUP BY ending;

-- name: oldest_ready
SELECT queue, min(run_at) FROM (SELECT queue, run_at FROM embedq_jobs WHERE lane = 'ready' LIMIT $1) AS found
GROUP BY queue;

-- Parts of the searches that storage/inspect.py composes.

-- name: job_columns
id, state, name, payload, code, queue, executor, priority, tags, idempotency_key, parent_id, `trigger`, schedule,
created_at, run_at, expires_at, started_at, finished_at, delete_at, attempt, crashes, cancel_requested_at IS NOT NULL,
overdue_at IS NOT NULL, server_id, error, result, progress, progress_note;

-- name: has_tag
-- As text: reading JSON would fail at a row that somebody has damaged.
LOCATE(JSON_QUOTE(?), tags) > 0;

-- name: error_contains
LOCATE(?, error) > 0;

-- name: ids_ready
SELECT id FROM embedq_jobs WHERE lane = 'ready' LIMIT $1;

-- name: ids_suspect
SELECT id FROM embedq_jobs WHERE lane = 'suspect' LIMIT $1;

-- name: ids_running
SELECT id FROM embedq_jobs WHERE lane LIKE 'running %' LIMIT $1;

-- name: ids_parked
SELECT id FROM embedq_jobs WHERE lane = 'parked' LIMIT $1;

-- name: ids_awaiting
SELECT id FROM embedq_jobs WHERE lane = 'awaiting' LIMIT $1;

-- name: ids_children
SELECT id FROM embedq_jobs WHERE parent_id = $1 LIMIT $2;

-- name: ids_scheduled_by
SELECT job_id FROM embedq_occurrences WHERE schedule = $1 AND job_id IS NOT NULL ORDER BY fire_at DESC LIMIT $2;

-- name: all_jobs
-- The walks of storage/inspect/walks.py: a table by an index, each with a condition to which others are added.
embedq_jobs FORCE INDEX (PRIMARY) WHERE 1 = 1;

-- name: ended_jobs
embedq_jobs FORCE INDEX (embedq_jobs_finished) WHERE ended = ?;

-- name: due_jobs
embedq_jobs FORCE INDEX (embedq_jobs_due) WHERE due_at IS NOT NULL;

-- name: due_key
due_at;

-- name: payload_contains
LOCATE(?, payload) > 0;

-- name: logs_after
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: logs_latest
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = $1 ORDER BY id DESC LIMIT $2;

-- name: relative
SELECT id, name, state, parent_id, `trigger` FROM embedq_jobs WHERE id = $1;

-- name: child_relatives
SELECT id, name, state, parent_id, `trigger` FROM embedq_jobs FORCE INDEX (embedq_jobs_parent) WHERE parent_id = $1 ORDER BY id LIMIT $2;

-- name: cancel_asked_at
SELECT cancel_requested_at FROM embedq_jobs WHERE id = $1;

-- name: running_jobs
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane LIKE 'running %' LIMIT $1;

-- name: running_jobs_of
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane = CONCAT('running ', $1) LIMIT $2;

-- name: queue_line
SELECT min(run_at) FROM (SELECT run_at FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
    WHERE lane = 'ready' AND executor = $1 AND queue = $2 ORDER BY urgency, id LIMIT $3) AS line;

-- name: queue_levels
-- When the first job of each priority was due, by skipping from one priority to the next; of fifty at most.
WITH RECURSIVE level (place, number) AS (
    SELECT (SELECT urgency FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
            WHERE lane = 'ready' AND executor = $1 AND queue = $2 ORDER BY urgency LIMIT 1), 1
    UNION ALL
    SELECT (SELECT urgency FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
            WHERE lane = 'ready' AND executor = $1 AND queue = $2 AND urgency > level.place
            ORDER BY urgency LIMIT 1), number + 1
    FROM level WHERE level.place IS NOT NULL AND number < 50
)
SELECT min((SELECT run_at FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
            WHERE lane = 'ready' AND executor = $1 AND queue = $2 AND urgency = level.place
            ORDER BY id LIMIT 1))
FROM level WHERE level.place IS NOT NULL;

-- name: queue_ready
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
    WHERE lane = 'ready' AND executor = $1 AND queue = $2 LIMIT $3) AS found;

-- name: queue_suspects
SELECT queue, count(*), min(run_at) FROM (SELECT queue, run_at FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
    WHERE lane = 'suspect' LIMIT $1) AS found GROUP BY queue;

-- name: due_by_queue
-- Of the first so many: the index knows neither state nor queue.
SELECT state, queue, count(*) FROM (SELECT state, queue FROM embedq_jobs FORCE INDEX (embedq_jobs_due)
    WHERE due_at IS NOT NULL ORDER BY due_at LIMIT $1) AS found GROUP BY state, queue;

-- name: recent_failures
SELECT attempt.error, attempt.finished_at, attempt.job_id, job.name
FROM (SELECT left(error, 1000) AS error, finished_at, job_id FROM embedq_attempts FORCE INDEX (embedq_attempts_finished)
      WHERE finished_at >= $1 AND ending IN ('failed', 'timed out', 'crashed')
      ORDER BY finished_at DESC LIMIT $2) AS attempt
LEFT JOIN embedq_jobs AS job ON job.id = attempt.job_id
ORDER BY attempt.finished_at DESC;

-- name: parked_groups
SELECT needs, count(*), min(created_at), min(id) FROM (SELECT needs, created_at, id FROM embedq_jobs FORCE INDEX (embedq_jobs_parked)
    WHERE needs IS NOT NULL LIMIT $1) AS found GROUP BY needs;

-- name: minute_bar
minute DIV ?;

-- name: ended_sums
ending, CAST(sum(jobs) AS SIGNED), CAST(sum(ran_us) AS SIGNED), CAST(sum(waited_us) AS SIGNED), CAST(sum(cpu_us) AS SIGNED)
FROM embedq_counters WHERE minute >= ?;
