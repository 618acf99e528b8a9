-- Statements of storage/inspect.py: what people look at. Never read by the engine.

-- name: job
SELECT id, state, name, payload, code, queue, executor, priority, tags, idempotency_key, parent_id, trigger,
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
    (SELECT count(*) FROM embedq_jobs WHERE state = 'running' AND server_id = s.id),
    EXISTS (SELECT 1 FROM embedq_leases WHERE holder = s.id)
FROM embedq_servers AS s ORDER BY s.id;

-- name: schedules
SELECT name, spec, misfire, task, template, next_fire_at, last_fire_at, last_job_id, paused_at, error, created_at, updated_at
FROM embedq_schedules ORDER BY name;

-- name: occurrences
SELECT fire_at, outcome, last_fire_at, occurrences, job_id, reason, recorded_at
FROM embedq_occurrences WHERE schedule = $1 ORDER BY fire_at DESC LIMIT $2;

-- name: count_ready
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE state = 'ready' AND crashes < 2 LIMIT $1) AS found;

-- name: count_suspect
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE state = 'ready' AND crashes >= 2 LIMIT $1) AS found;

-- name: count_running
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE state = 'running' LIMIT $1) AS found;

-- name: count_parked
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE state = 'parked' LIMIT $1) AS found;

-- name: count_awaiting
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs WHERE state = 'awaiting' LIMIT $1) AS found;

-- name: count_ended
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs
                      WHERE delete_at IS NOT NULL AND state = $1 LIMIT $2) AS found;

-- name: parked_needs
SELECT DISTINCT needs FROM embedq_jobs WHERE state = 'parked';

-- name: news
-- What a dispatcher must know when somebody else has written: which of the running jobs of a server ($1) are to be
-- cancelled; whether a job is ready in these queues ($2, a JSON list, or NULL for all), and for which executors a suspect
-- is; and when the next job is due.
SELECT 'cancel', NULL, id, claim FROM embedq_jobs
WHERE state = 'running' AND cancel_requested_at IS NOT NULL AND server_id = $1
UNION ALL
SELECT 'ready', NULL, NULL::bigint, NULL::bigint
WHERE CASE WHEN $2::jsonb IS NULL
    THEN (SELECT true FROM embedq_jobs WHERE state = 'ready' AND crashes < 2 LIMIT 1)
    ELSE (SELECT true FROM jsonb_array_elements_text($2::jsonb) AS given,
              (VALUES ('thread'), ('async'), ('process')) AS three (one)
          WHERE (SELECT true FROM embedq_jobs
                 WHERE state = 'ready' AND crashes < 2 AND executor = one AND queue = given LIMIT 1) LIMIT 1) END
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL::bigint, NULL::bigint FROM embedq_jobs
WHERE state = 'ready' AND crashes >= 2
  AND ($2::jsonb IS NULL OR queue = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb))))
UNION ALL
(SELECT 'due', NULL, run_at, NULL FROM embedq_jobs
 WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1);

-- name: totals
SELECT ending, sum(jobs)::bigint, sum(ran_us)::bigint, sum(waited_us)::bigint
FROM embedq_counters WHERE minute >= $1 GROUP BY ending;

-- name: oldest_ready
SELECT queue, min(run_at) FROM (SELECT queue, run_at FROM embedq_jobs
    WHERE state = 'ready' AND crashes < 2 LIMIT $1) AS found GROUP BY queue;

-- Parts of the searches that storage/inspect.py composes.

-- name: job_columns
id, state, name, payload, code, queue, executor, priority, tags, idempotency_key, parent_id, trigger, schedule,
created_at, run_at, expires_at, started_at, finished_at, delete_at, attempt, crashes, cancel_requested_at IS NOT NULL,
overdue_at IS NOT NULL, server_id, error, result, progress, progress_note;

-- name: has_tag
-- As text: reading JSON would fail at a row that somebody has damaged.
strpos(tags, to_json(?::text)::text) > 0;

-- name: error_contains
strpos(error, ?) > 0;

-- name: ids_ready
SELECT id FROM embedq_jobs WHERE state = 'ready' AND crashes < 2 LIMIT $1;

-- name: ids_suspect
SELECT id FROM embedq_jobs WHERE state = 'ready' AND crashes >= 2 LIMIT $1;

-- name: ids_running
SELECT id FROM embedq_jobs WHERE state = 'running' LIMIT $1;

-- name: ids_parked
SELECT id FROM embedq_jobs WHERE state = 'parked' LIMIT $1;

-- name: ids_awaiting
SELECT id FROM embedq_jobs WHERE state = 'awaiting' LIMIT $1;

-- name: ids_children
SELECT id FROM embedq_jobs WHERE parent_id = $1 LIMIT $2;

-- name: ids_scheduled_by
SELECT job_id FROM embedq_occurrences WHERE schedule = $1 AND job_id IS NOT NULL ORDER BY fire_at DESC LIMIT $2;

-- name: all_jobs
-- The walks of storage/inspect/walks.py: a table by an index, each with a condition to which others are added.
embedq_jobs WHERE 1 = 1;

-- name: ended_jobs
embedq_jobs WHERE finished_at IS NOT NULL AND state = ?;

-- name: due_jobs
embedq_jobs WHERE state IN ('scheduled', 'retrying');

-- name: due_key
run_at;

-- name: payload_contains
strpos(payload, ?) > 0;

-- name: logs_after
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: logs_latest
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = $1 ORDER BY id DESC LIMIT $2;

-- name: relative
SELECT id, name, state, parent_id, trigger FROM embedq_jobs WHERE id = $1;

-- name: child_relatives
SELECT id, name, state, parent_id, trigger FROM embedq_jobs WHERE parent_id = $1 ORDER BY id LIMIT $2;

-- name: cancel_asked_at
SELECT cancel_requested_at FROM embedq_jobs WHERE id = $1;

-- name: running_jobs
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM embedq_jobs WHERE state = 'running' LIMIT $1;

-- name: running_jobs_of
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM embedq_jobs WHERE state = 'running' AND server_id = $1 LIMIT $2;

-- name: queue_line
SELECT min(run_at) FROM (SELECT run_at FROM embedq_jobs
    WHERE state = 'ready' AND crashes < 2 AND executor = $1 AND queue = $2 ORDER BY priority DESC, id LIMIT $3) AS line;

-- name: queue_levels
-- When the first job of each priority was due, by skipping from one priority to the next; of fifty at most.
WITH RECURSIVE level (place, number) AS (
    SELECT (SELECT priority FROM embedq_jobs
            WHERE state = 'ready' AND crashes < 2 AND executor = $1 AND queue = $2 ORDER BY priority DESC LIMIT 1), 1
    UNION ALL
    SELECT (SELECT priority FROM embedq_jobs
            WHERE state = 'ready' AND crashes < 2 AND executor = $1 AND queue = $2 AND priority < level.place
            ORDER BY priority DESC LIMIT 1), number + 1
    FROM level WHERE level.place IS NOT NULL AND number < 50
)
SELECT min((SELECT run_at FROM embedq_jobs
            WHERE state = 'ready' AND crashes < 2 AND executor = $1 AND queue = $2 AND priority = level.place
            ORDER BY id LIMIT 1))
FROM level WHERE level.place IS NOT NULL;

-- name: queue_ready
SELECT count(*) FROM (SELECT 1 FROM embedq_jobs
    WHERE state = 'ready' AND crashes < 2 AND executor = $1 AND queue = $2 LIMIT $3) AS found;

-- name: queue_suspects
SELECT queue, count(*), min(run_at) FROM (SELECT queue, run_at FROM embedq_jobs
    WHERE state = 'ready' AND crashes >= 2 LIMIT $1) AS found GROUP BY queue;

-- name: due_by_queue
-- Of the first so many: the index knows neither state nor queue.
SELECT state, queue, count(*) FROM (SELECT state, queue FROM embedq_jobs
    WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT $1) AS found GROUP BY state, queue;

-- name: recent_failures
SELECT attempt.error, attempt.finished_at, attempt.job_id, job.name
FROM (SELECT left(error, 1000) AS error, finished_at, job_id FROM embedq_attempts
      WHERE finished_at >= $1 AND ending IN ('failed', 'timed out', 'crashed')
      ORDER BY finished_at DESC LIMIT $2) AS attempt
LEFT JOIN embedq_jobs AS job ON job.id = attempt.job_id
ORDER BY attempt.finished_at DESC;

-- name: parked_groups
SELECT needs, count(*), min(created_at), min(id) FROM (SELECT needs, created_at, id FROM embedq_jobs
    WHERE state = 'parked' LIMIT $1) AS found GROUP BY needs;

-- name: minute_bar
minute / ?;

-- name: ended_sums
ending, sum(jobs)::bigint, sum(ran_us)::bigint, sum(waited_us)::bigint, sum(cpu_us)::bigint
FROM embedq_counters WHERE minute >= ?;
