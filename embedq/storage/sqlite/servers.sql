-- Statements of storage/servers.py: who is alive, and who leads.

-- name: insert_server
INSERT INTO embedq_servers (uuid, host, hostname, pid, version, workers, queues, started_at, heartbeat_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: adopt_claims
-- What a process claimed under the number that it did not know it had lost.
UPDATE embedq_jobs INDEXED BY embedq_jobs_running SET server_id = ?1 WHERE state = 'running' AND server_id = ?2;

-- name: beat
UPDATE embedq_servers SET heartbeat_at = ? WHERE id = ?;

-- name: mark_stopping
UPDATE embedq_servers SET stopping_at = ? WHERE id = ?;

-- name: delete_server
DELETE FROM embedq_servers WHERE id = ?;

-- name: other_servers
SELECT id, uuid, host, heartbeat_at, stopping_at, pid, hostname FROM embedq_servers WHERE id <> ?;

-- name: server_by_id
SELECT id, stopping_at, pid, hostname FROM embedq_servers WHERE id = ?;

-- name: take_lease
-- The holder renews, or anybody takes one that has run out; the term grows when it changes hands.
INSERT INTO embedq_leases (name, holder, term, expires_at) VALUES (?1, ?2, 1, ?3)
ON CONFLICT (name) DO UPDATE
SET term = term + (holder <> excluded.holder), holder = excluded.holder, expires_at = excluded.expires_at
WHERE holder = excluded.holder OR expires_at <= ?4;

-- name: lease
SELECT holder, term, expires_at FROM embedq_leases WHERE name = ?;

-- name: drop_leases
DELETE FROM embedq_leases WHERE holder = ?;
