-- Statements of storage/health.py: what `embedq doctor` reads. Each stops at a limit, however many jobs there are.

-- name: queue_front
-- The first in line of a queue: how many up to the limit, and since when the oldest of them is due.
SELECT count(*), min(run_at) FROM (SELECT run_at FROM {ready}
    AND executor = $1 AND queue = $2 ORDER BY {by_urgency} LIMIT $3) AS found;

-- name: due_first
-- The jobs that wait for their time, soonest first, by queue.
SELECT queue, count(*), min(run_at) FROM (SELECT queue, run_at FROM {due_jobs} ORDER BY {due_key} LIMIT $1) AS found
GROUP BY queue;

-- name: parked_for
-- The jobs that are parked for one need.
SELECT count(*), min(id), min(created_at)
FROM (SELECT id, created_at FROM {parked_by_need} AND needs = $1 ORDER BY id LIMIT $2) AS found;

-- name: overdue_jobs
-- The jobs that did not stop at their timeout.
SELECT id, name FROM {running} AND overdue_at IS NOT NULL ORDER BY id LIMIT $1;

-- name: lately_dead
-- The functions whose jobs died lately, among those that are kept longest, which are the latest unless jobs have
-- retentions of their own.
SELECT name, count(*), max(id) FROM (SELECT id, name, finished_at FROM {ended:'dead'} ORDER BY delete_at DESC LIMIT $1) AS found
WHERE finished_at >= $2 GROUP BY name;
