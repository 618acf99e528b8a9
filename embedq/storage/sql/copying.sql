-- Statements of storage/copying.py: whole rows out of one database and into another. Every database has the columns of
-- a table in the same order, the key's first, so that a row that is read here can be written there.

-- name: copied_<table>
-- The rows to read.
SELECT {stored:<table>} FROM embedq_<table>;

-- name: copy_<table>
-- Write such rows.
INSERT INTO embedq_<table> ({columns:<table>}) {rows:<table>};

-- name: empty_<table>
-- Remove what an unfinished copy has written.
DELETE FROM embedq_<table>;

-- name: database_identity
-- The name of the database, the same however it is reached.
SELECT id FROM embedq_identity;

-- name: copy_record
-- How far a copy has come.
SELECT source, label, census, stands_at, last_key, batches, replaced FROM embedq_copies;

-- name: begin_copy
-- Reserve the database for a copy.
INSERT INTO embedq_copies (source, label, census, batches, replaced, began_at)
VALUES ($1, $2, $3, 0, 0, $4);

-- name: advance_copy
-- Record a batch. The number of batches is the fence: of two processes that copy at once the second changes nothing.
UPDATE embedq_copies SET stands_at = $1, last_key = $2, batches = batches + 1, replaced = replaced + $3
WHERE source = $4 AND batches = $5;

-- name: end_copy
-- The copy is complete, or given up.
DELETE FROM embedq_copies;

-- name: raise_numbers
-- Let new rows have higher ids than those that were copied. Jobs and log lines number on from the highest that is there.
-- Of processes the rows are not copied, and their numbers must not be given again: a row that comes and goes sees to that.
INSERT INTO embedq_servers (id, uuid, host, hostname, pid, version, workers, started_at, heartbeat_at)
SELECT $3, 'copied', '', '', 0, '', 0, 0, 0
WHERE $3 > (SELECT coalesce(max(id), 0) FROM embedq_servers AS known);

-- name: drop_number
-- Remove that row.
DELETE FROM embedq_servers WHERE uuid = 'copied';
