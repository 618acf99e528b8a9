-- Statements of storage/servers.py: who is alive, and who leads.

-- name: insert_server
INSERT INTO embedq_servers (uuid, host, hostname, pid, version, workers, queues, started_at, heartbeat_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: adopt_claims
-- What a process claimed under the number that it did not know it had lost.
UPDATE embedq_jobs SET server_id = $1
WHERE lane = CONCAT('running ', $2);

-- name: beat
UPDATE embedq_servers SET heartbeat_at = $1 WHERE id = $2;

-- name: mark_stopping
UPDATE embedq_servers SET stopping_at = $1 WHERE id = $2;

-- name: delete_server
DELETE FROM embedq_servers WHERE id = $1;

-- name: other_servers
SELECT id, uuid, host, heartbeat_at, stopping_at, pid, hostname FROM embedq_servers WHERE id <> $1;

-- name: server_by_id
-- Locked, so that of two rescuers the second finds it gone.
SELECT id, stopping_at, pid, hostname FROM embedq_servers WHERE id = $1 FOR UPDATE;

-- name: take_lease
-- The holder renews, or anybody takes one that has run out; the term grows when it changes hands.
INSERT IGNORE INTO embedq_leases (name, holder, term, expires_at) VALUES ($1, $2, 1, $3);
UPDATE embedq_leases SET term = term + (holder <> $2), holder = $2, expires_at = $3
WHERE name = $1 AND (holder = $2 OR expires_at <= $4);

-- name: lease
SELECT holder, term, expires_at FROM embedq_leases WHERE name = $1;

-- name: drop_leases
DELETE FROM embedq_leases WHERE holder = $1;
