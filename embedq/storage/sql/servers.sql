-- Statements of storage/servers.py: which processes are alive, and which one leads.

-- name: insert_server
-- Register a process.
INSERT INTO embedq_servers (uuid, host, hostname, pid, version, workers, queues, started_at, heartbeat_at, knows_holds)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1) RETURNING id;

-- name: adopt_claims
-- Give a process that is registered again ($1) what it claimed under the number that it did not know it had lost ($2).
UPDATE embedq_jobs {by:embedq_jobs_running} SET server_id = $1
WHERE state = 'running' AND server_id = $2;

-- name: beat
-- Record a heartbeat.
UPDATE embedq_servers SET heartbeat_at = $1 WHERE id = $2;

-- name: mark_stopping
-- Record that a process is being stopped.
UPDATE embedq_servers SET stopping_at = $1 WHERE id = $2;

-- name: save_restarts
-- Store how often which threads of a process were started again.
UPDATE embedq_servers SET restarts = $1 WHERE id = $2;

-- name: delete_server
-- Remove a process that has stopped or died.
DELETE FROM embedq_servers WHERE id = $1;

-- name: other_servers
-- The other processes, for one that looks whether they are alive.
SELECT id, uuid, host, heartbeat_at, stopping_at, pid, hostname FROM embedq_servers WHERE id <> $1;

-- name: server_by_id
-- One process, for its rescue. Locked, so that of two rescuers the second finds it gone.
SELECT id, stopping_at, pid, hostname, heartbeat_at FROM embedq_servers WHERE id = $1 FOR UPDATE;

-- name: take_lease
-- Take or renew a lease: its holder may at any time, others once it has expired. The term grows when it changes hands.
INSERT INTO embedq_leases (name, holder, term, expires_at) VALUES ($1, $2, 1, $3)
ON CONFLICT (name) DO UPDATE
SET term = embedq_leases.term + (embedq_leases.holder <> excluded.holder)::int, holder = excluded.holder,
    expires_at = excluded.expires_at
WHERE embedq_leases.holder = excluded.holder OR embedq_leases.expires_at <= $4;

-- name: lease
-- Read a lease.
SELECT holder, term, expires_at FROM embedq_leases WHERE name = $1;

-- name: drop_leases
-- Give up what a process holds, so that another need not wait for it to expire.
DELETE FROM embedq_leases WHERE holder = $1;

-- name: forgive_attempt
-- Correct an attempt that was counted as a crash although its process lives.
UPDATE embedq_attempts SET ending = 'released', error = $1 WHERE job_id = $2 AND claim = $3 AND ending = 'crashed';

-- name: forgive_crash
-- Correct a job's count of crashes, likewise. In this order, since MySQL uses what has been set before.
UPDATE embedq_jobs SET crashes_alone = least(crashes_alone, crashes - 1), crashes = crashes - 1 WHERE id = $1 AND crashes > 0;

-- name: dead_of_claim
-- Whether the job was set aside when this claim of it was taken back. Locked until that is decided.
SELECT 1 FROM embedq_jobs WHERE id = $1 AND claim = $2 AND state = 'dead' FOR UPDATE;
