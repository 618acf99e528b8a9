-- Statements of storage/health.py: what `embedq doctor` asks. Each stops at a limit, however many jobs there are.

-- name: queue_front
-- The first in line of a queue: how many up to the limit, and since when the oldest of them is due.
SELECT count(*), min(run_at) FROM (SELECT run_at FROM embedq_jobs INDEXED BY embedq_jobs_ready
    WHERE state = 'ready' AND crashes < 2 AND executor = ? AND queue = ? ORDER BY priority DESC, id LIMIT ?);

-- name: due_first
-- The jobs that wait for their time, soonest first, by queue.
SELECT queue, count(*), min(run_at) FROM (SELECT queue, run_at FROM embedq_jobs INDEXED BY embedq_jobs_due
    WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT ?) GROUP BY queue;

-- name: parked_for
SELECT count(*), min(id) FROM (SELECT id FROM embedq_jobs INDEXED BY embedq_jobs_parked
    WHERE state = 'parked' AND needs = ? ORDER BY id LIMIT ?);

-- name: overdue_jobs
SELECT id, name FROM embedq_jobs INDEXED BY embedq_jobs_running
WHERE state = 'running' AND overdue_at IS NOT NULL ORDER BY id LIMIT ?;

-- name: lately_dead
-- Of those that are kept longest, which are the latest unless jobs have retentions of their own.
SELECT name, count(*), max(id) FROM (SELECT id, name, finished_at FROM embedq_jobs INDEXED BY embedq_jobs_ended
    WHERE delete_at IS NOT NULL AND state = 'dead' ORDER BY delete_at DESC LIMIT ?)
WHERE finished_at >= ? GROUP BY name;
