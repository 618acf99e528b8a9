-- Statements of storage/inspect: what people look at, and what storage/inspect/engine.py reads for the engine.

-- name: job
-- One job, with all that is shown of it.
SELECT {job_columns} FROM embedq_jobs WHERE id = $1;

-- name: attempts
-- The attempts of a job that did not succeed, in order.
SELECT attempt, ending, started_at, finished_at, error, traceback, server_id
FROM embedq_attempts WHERE job_id = $1 ORDER BY claim;

-- name: last_traceback
-- The traceback of the latest of them.
SELECT traceback FROM embedq_attempts WHERE job_id = $1 ORDER BY claim DESC LIMIT 1;

-- name: outcome
-- How one job ended, for the thread that waits for it.
SELECT state, result, error FROM embedq_jobs WHERE id = $1;

-- name: job_states
-- The states of jobs that are waited for.
SELECT id, state FROM embedq_jobs WHERE id IN $1[];

-- name: outcomes
-- How these jobs ended, with their results.
SELECT id, state, result, error FROM embedq_jobs WHERE id IN $1[];

-- name: logs
-- All lines that a job wrote.
SELECT at, attempt, message FROM embedq_logs WHERE job_id = $1 ORDER BY id;

-- name: children
-- The jobs that continue a job.
SELECT id FROM {children_of:= $1} ORDER BY id;

-- name: servers
-- The processes, with the number of jobs that each runs and whether it leads.
SELECT s.id, s.uuid, s.hostname, s.pid, s.version, s.workers, s.queues, s.started_at, s.heartbeat_at, s.stopping_at,
    (SELECT count(*) FROM {running_on:s.id}),
    EXISTS (SELECT 1 FROM embedq_leases WHERE holder = s.id),
    s.restarts
FROM embedq_servers AS s ORDER BY s.id;

-- name: schedules
-- The schedules; conditions are added to it.
SELECT {columns:schedule} FROM embedq_schedules;

-- name: occurrences
-- The ledger of one schedule, the latest first, and the state of each job now.
SELECT fire_at, outcome, last_fire_at, occurrences, job_id,
    (SELECT state FROM embedq_jobs WHERE embedq_jobs.id = embedq_occurrences.job_id), reason, recorded_at
FROM embedq_occurrences WHERE schedule = $1 ORDER BY fire_at DESC LIMIT $2;

-- Counts of jobs by state stop at a limit, however many there are.

-- name: count_ready
-- Jobs that wait for a worker.
SELECT count(*) FROM (SELECT 1 FROM {ready} LIMIT $1) AS found;

-- name: count_suspect
-- Jobs whose process died under them twice, which are also ready.
SELECT count(*) FROM (SELECT 1 FROM {suspect} LIMIT $1) AS found;

-- name: count_running
-- Jobs that run.
SELECT count(*) FROM (SELECT 1 FROM {running} LIMIT $1) AS found;

-- name: count_parked
-- Jobs that no process can run.
SELECT count(*) FROM (SELECT 1 FROM {parked} LIMIT $1) AS found;

-- name: count_awaiting
-- Jobs that wait for their parents.
SELECT count(*) FROM (SELECT 1 FROM {awaiting} LIMIT $1) AS found;

-- name: count_ended
-- Jobs that ended in a state.
SELECT count(*) FROM (SELECT 1 FROM {ended:$1} LIMIT $2) AS found;

-- name: parked_needs
-- What parked jobs need, for a process that looks whether it has it. By skipping from one to the next in the index: many
-- jobs may need the same.
WITH RECURSIVE found (need) AS (
    SELECT (SELECT needs FROM {parked_by_need} AND needs > '' ORDER BY needs LIMIT 1)
    UNION ALL
    SELECT (SELECT needs FROM {parked_by_need} AND needs > found.need ORDER BY needs LIMIT 1)
    FROM found WHERE found.need IS NOT NULL
)
SELECT need FROM found WHERE need IS NOT NULL;

-- name: news
-- What a dispatcher must know when another process has written: which of the running jobs of a server ($1) are to be
-- cancelled; whether a job is ready in these queues ($2, a JSON list, or NULL for all), and for which executors a suspect
-- is; what is paused; and when the next job is due.
SELECT 'cancel', NULL, id, claim FROM {running_on:$1} AND cancel_requested_at IS NOT NULL
UNION ALL
SELECT 'ready', NULL, NULL::bigint, NULL::bigint
WHERE CASE WHEN $2::jsonb IS NULL
    THEN (SELECT true FROM {ready} LIMIT 1)
    ELSE (SELECT true FROM jsonb_array_elements_text($2::jsonb) AS given,
              (VALUES ('thread'), ('async'), ('process'), ('thread lane'), ('async lane'), ('process lane')) AS six (one)
          WHERE (SELECT true FROM {ready} AND executor = one AND queue = given LIMIT 1) LIMIT 1) END
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL::bigint, NULL::bigint FROM {suspect} AND ($2::jsonb IS NULL OR queue IN $2[text])
UNION ALL
SELECT 'hold', kind || ' ' || name, until, NULL::bigint FROM embedq_holds
UNION ALL
(SELECT 'due', NULL, {due_key}, NULL FROM {due_jobs} ORDER BY {due_key} LIMIT 1);

-- name: totals
-- The counters since a minute, by how jobs ended.
SELECT ending, {total:jobs}, {total:ran_us}, {total:waited_us}
FROM embedq_counters WHERE minute >= $1 GROUP BY ending;

-- name: oldest_ready
-- Since when each queue has a job that is due, of the first so many jobs.
SELECT queue, min(run_at) FROM (SELECT queue, run_at FROM {ready} LIMIT $1) AS found GROUP BY queue;

-- Parts of the searches that storage/inspect/searching.py composes.

-- part: job_columns
-- A row of inspect/rows.py.
{snapshot:whole};

-- part: slim_columns
-- The same without what may be large.
{snapshot:slim};

-- name: ids_ready
-- The ids of each live set, so many at most, to be searched through.
SELECT id FROM {ready} LIMIT $1;

-- name: ids_suspect
-- Likewise.
SELECT id FROM {suspect} LIMIT $1;

-- name: ids_running
-- Likewise.
SELECT id FROM {running} LIMIT $1;

-- name: ids_parked
-- Likewise.
SELECT id FROM {parked} LIMIT $1;

-- name: ids_awaiting
-- Likewise.
SELECT id FROM {awaiting} LIMIT $1;

-- name: ids_children
-- Those of the jobs that continue a job.
SELECT id FROM {children_of:= $1} LIMIT $2;

-- name: ids_scheduled_by
-- Those of the jobs that a schedule enqueued, the latest first.
SELECT job_id FROM embedq_occurrences WHERE schedule = $1 AND job_id IS NOT NULL ORDER BY fire_at DESC LIMIT $2;

-- name: logs_after
-- Lines of a job behind a line.
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: logs_latest
-- The latest lines of a job.
SELECT id, at, attempt, message FROM embedq_logs WHERE job_id = $1 ORDER BY id DESC LIMIT $2;

-- name: relative
-- A job of a family: enough to find its parent.
SELECT id, name, state, parent_id, trigger FROM embedq_jobs WHERE id = $1;

-- name: child_relatives
-- Its children, likewise.
SELECT id, name, state, parent_id, trigger FROM {children_of:= $1} ORDER BY id LIMIT $2;

-- name: cancel_asked_at
-- When a running job was asked to stop.
SELECT cancel_requested_at FROM embedq_jobs WHERE id = $1;

-- name: running_jobs
-- The jobs that run, with their progress.
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM {running} LIMIT $1;

-- name: running_jobs_of
-- Those that one process runs.
SELECT id, name, queue, executor, server_id, attempt, started_at, progress, progress_note, cancel_requested_at, overdue_at
FROM {running_on:$1} LIMIT $2;

-- name: queue_line
-- Since when the oldest of the first jobs of a queue is due.
SELECT min(run_at) FROM (SELECT run_at FROM {ready} AND executor = $1 AND queue = $2 ORDER BY {by_urgency} LIMIT $3) AS line;

-- name: queue_levels
-- When the first job of each priority was due, by skipping from one priority to the next; of fifty at most.
WITH RECURSIVE level (place, number) AS (
    SELECT (SELECT priority FROM {ready} AND executor = $1 AND queue = $2 ORDER BY priority DESC LIMIT 1), 1
    UNION ALL
    SELECT (SELECT priority FROM {ready} AND executor = $1 AND queue = $2 AND priority < level.place
            ORDER BY priority DESC LIMIT 1), number + 1
    FROM level WHERE level.place IS NOT NULL AND number < 50
)
SELECT min((SELECT run_at FROM {ready} AND executor = $1 AND queue = $2 AND priority = level.place ORDER BY id LIMIT 1))
FROM level WHERE level.place IS NOT NULL;

-- name: queue_ready
-- How many jobs of a queue are ready.
SELECT count(*) FROM (SELECT 1 FROM {ready} AND executor = $1 AND queue = $2 LIMIT $3) AS found;

-- name: queue_suspects
-- How many suspects each queue has, and since when.
SELECT queue, count(*), min(run_at) FROM (SELECT queue, run_at FROM {suspect} LIMIT $1) AS found GROUP BY queue;

-- name: due_by_queue
-- The scheduled and retrying jobs by queue. Of the first so many: the index knows neither state nor queue.
SELECT state, queue, count(*) FROM (SELECT state, queue FROM {due_jobs} ORDER BY {due_key} LIMIT $1) AS found
GROUP BY state, queue;

-- name: recent_failures
-- The latest attempts that failed, with the names of their jobs.
SELECT attempt.error, attempt.finished_at, attempt.job_id, job.name
FROM (SELECT substr(error, 1, 1000) AS error, finished_at, job_id FROM {attempts_by_end}
      WHERE finished_at >= $1 AND ending IN ('failed', 'timed out', 'crashed')
      ORDER BY finished_at DESC LIMIT $2) AS attempt
LEFT JOIN embedq_jobs AS job ON job.id = attempt.job_id
ORDER BY attempt.finished_at DESC;

-- part: ended_sums
-- The sums of counters that storage/inspect/history.py groups; conditions are added to it.
ending, {total:jobs}, {total:ran_us}, {total:waited_us}, {total:cpu_us}
FROM embedq_counters WHERE minute >= ?;
