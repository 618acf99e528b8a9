-- Statements of storage/lanes.py and permits.py: jobs under limits, and with fair turns.

-- name: lane_level
-- The highest priority below $3 with a job in a lane of a queue.
SELECT priority FROM {laned:$1} AND queue = $2 AND priority < $3 ORDER BY priority DESC LIMIT 1;

-- name: visit_lanes
-- The lanes from $4 on that have a ready job, $5 at most, each with its weight and limits: one seek a lane, however many
-- jobs wait in it. BETWEEN, because with "=" the order is by the id alone, for which PostgreSQL may take another index.
WITH RECURSIVE visited (lane, number) AS (
    SELECT (SELECT lane_key FROM {laned:$1} AND queue = $2 AND priority = $3 AND lane_key >= $4
            ORDER BY lane_key LIMIT 1), 1
    UNION ALL
    SELECT (SELECT lane_key FROM {laned:$1} AND queue = $2 AND priority = $3 AND lane_key > visited.lane
            ORDER BY lane_key LIMIT 1), number + 1
    FROM visited WHERE visited.lane IS NOT NULL AND number < $5
)
SELECT lane, (SELECT {lane_head} FROM {laned:$1} AND queue = $2 AND priority = $3
              AND lane_key BETWEEN visited.lane AND visited.lane ORDER BY lane_key, id LIMIT 1)
FROM visited WHERE lane IS NOT NULL;

-- name: lane_jobs
-- The first jobs of a lane, as ready_jobs. BETWEEN as above.
SELECT {batch:$6}
FROM (SELECT * FROM {laned:$1} AND queue = $2 AND priority = $3 AND lane_key BETWEEN $4 AND $4
      ORDER BY lane_key, id LIMIT $5 FOR UPDATE SKIP LOCKED) AS job;

-- name: limits_of_jobs
-- The limits that these jobs are under.
SELECT id, limit_1, key_1, limit_2, key_2 FROM {by_key:jobs} WHERE id IN $1[];

-- name: wake_parked
-- Let jobs of lanes that this process has what they need for take their turn: parked -> ready.
UPDATE embedq_jobs SET state = 'ready', needs = NULL
WHERE id = ANY (ARRAY(SELECT id FROM {parked_by_need} AND needs IN $1[text] AND executor IN $2[text]
                      ORDER BY needs, id LIMIT $3 FOR UPDATE SKIP LOCKED));

-- name: running_permits
-- How many jobs run under each pair of limits, of all processes.
SELECT limit_1, key_1, limit_2, key_2, count(*) FROM {permitted} GROUP BY limit_1, key_1, limit_2, key_2;

-- name: limit_values
-- The values of limits.
SELECT name, total, per_key, rates, set_total, set_per_key FROM {by_key:limits} WHERE name IN $1[text];

-- name: permits
-- What is stored of permits.
SELECT permit, tats, closed_until FROM {by_key:permits} WHERE permit IN $1[text];

-- name: lock_permits
-- The same, locked in order, to count and claim under them. What another process has locked is left to it.
SELECT permit, tats, closed_until FROM {by_key:permits} WHERE permit IN $1[text] ORDER BY permit FOR UPDATE SKIP LOCKED;

-- name: create_permits
-- In a transaction of its own, so that no process waits for another's claim.
INSERT INTO embedq_permits (permit, tats, used_at)
SELECT given, '', $2::bigint FROM jsonb_array_elements_text($1::jsonb) AS given ORDER BY given
ON CONFLICT (permit) DO NOTHING;

-- name: spend_permit
-- Record starts.
UPDATE embedq_permits SET tats = $1, used_at = $2 WHERE permit = $3;

-- name: close_permit
-- notify: jobs
-- Let nothing start under a limit until a moment.
INSERT INTO embedq_permits (permit, tats, closed_until, used_at) VALUES ($1, '', $2::bigint, $3::bigint)
ON CONFLICT (permit) DO UPDATE SET closed_until = greatest(coalesce(embedq_permits.closed_until, 0), excluded.closed_until);

-- name: idle_permits
-- Permits that no process has used since a moment.
SELECT permit FROM embedq_permits WHERE used_at < $1 AND coalesce(closed_until, 0) < $1 LIMIT $2
FOR UPDATE SKIP LOCKED;

-- name: delete_permits
-- They are made again when they are met again.
DELETE FROM embedq_permits WHERE permit IN $1[text];

-- name: lanes_freed
-- notify: jobs
-- A permit came back that this process does not use.
SELECT 1;

-- name: declare_limit
-- Store the code's values of a limit.
INSERT INTO embedq_limits (name, total, per_key, rates, updated_at)
VALUES ($1, $2::bigint, $3::bigint, $4, $5::bigint)
ON CONFLICT (name) DO UPDATE SET total = excluded.total, per_key = excluded.per_key, rates = excluded.rates,
    updated_at = excluded.updated_at;

-- name: set_limit
-- notify: jobs
-- Store the values that win over the code's.
UPDATE embedq_limits SET set_total = $2::bigint, set_per_key = $3::bigint, set_by = $4, set_at = $5::bigint,
    updated_at = $6 WHERE name = $1;

-- name: all_limits
-- The limits, by name.
SELECT name, total, per_key, rates, set_total, set_per_key, set_by, set_at FROM embedq_limits ORDER BY name;

-- name: limit_names
-- Some limits, to list what there is.
SELECT name FROM embedq_limits ORDER BY name LIMIT $1;

-- name: lane_front
-- The next jobs of a lane, and since when they are due.
SELECT id, run_at FROM {laned:$1} AND queue = $2 AND priority = $3 AND lane_key BETWEEN $4 AND $4
ORDER BY lane_key, id LIMIT $5;

-- name: running_starts
-- When a job started last under each pair of limits, of those that run.
SELECT limit_1, key_1, limit_2, key_2, max(started_at) FROM {permitted} GROUP BY limit_1, key_1, limit_2, key_2;

-- name: failed_starts
-- The same of the attempts that failed last.
SELECT job.limit_1, job.key_1, job.limit_2, job.key_2, max(attempt.started_at)
FROM (SELECT job_id, started_at FROM {attempts_by_end} ORDER BY finished_at DESC LIMIT $1) AS attempt
JOIN embedq_jobs AS job ON job.id = attempt.job_id
WHERE job.limit_1 IS NOT NULL GROUP BY job.limit_1, job.key_1, job.limit_2, job.key_2;

-- name: lane_of_job
-- Where a job stands: its executor, lane, place and limits.
SELECT state, name, executor, queue, priority, lane_key, limit_1, key_1, limit_2, key_2 FROM embedq_jobs WHERE id = $1;

-- name: count_ahead
-- How many ready jobs stand before one in its lane, up to $6. As pairs, for the reason above.
SELECT count(*) FROM (SELECT 1 FROM {laned:$1} AND queue = $2 AND priority = $3 AND lane_key >= $4
                      AND (lane_key, id) < ($4, $5) LIMIT $6) AS ahead;
