-- Statements that PostgreSQL writes in another way than storage/sql does, or has alone.

-- name: raise_numbers
-- Rows that bring their ids leave the sequences where they are. Jobs, log lines, processes, actions.
SELECT setval(sequence, greatest(number, coalesce(pg_sequence_last_value(sequence), 0)) + 1, false)
FROM (VALUES (pg_get_serial_sequence('embedq_jobs', 'id')::regclass, $1::bigint),
             (pg_get_serial_sequence('embedq_logs', 'id')::regclass, $2::bigint),
             (pg_get_serial_sequence('embedq_servers', 'id')::regclass, $3::bigint),
             (pg_get_serial_sequence('embedq_actions', 'id')::regclass,
              (SELECT coalesce(max(id), 0) FROM embedq_actions))) AS given (sequence, number);

-- name: insert_job_as
-- Insert a job without an idempotency key, under an id that was taken before, so that the insert may come twice. The next
-- id of that sequence comes back; nothing does where the id is taken.
INSERT INTO embedq_jobs ({columns:any_job}, id) VALUES ({values:any_job}, $28)
ON CONFLICT (id) DO NOTHING
RETURNING nextval($29::oid::regclass);

-- name: insert_plain_as
-- The same for a job with nothing rare about it.
INSERT INTO embedq_jobs ({columns:plain_job}, id) VALUES ({values:plain_job}, $9)
ON CONFLICT (id) DO NOTHING
RETURNING nextval($10::oid::regclass);

-- name: job_ids
-- The number of the sequence that gives jobs their ids.
SELECT pg_get_serial_sequence('embedq_jobs', 'id')::regclass::oid::bigint;

-- name: take_job_ids
-- So many ids of that sequence.
SELECT nextval($1::oid::regclass) FROM generate_series(1, $2::bigint);

-- name: job_is_there
-- Whether the row of that id is the job of this name, with these arguments, made at this moment.
SELECT 1 FROM embedq_jobs WHERE id = $1 AND name = $2 AND payload = $3 AND created_at = $4;

-- name: tell_jobs
-- Wake the processes that listen.
SELECT pg_notify($1, 'jobs');

-- name: next_job_ids
-- So many ids, to insert jobs under.
SELECT nextval((SELECT pg_get_serial_sequence('embedq_jobs', 'id')::regclass)) FROM generate_series(1, $1::bigint);

-- name: insert_keyed
-- Insert jobs under ids that were taken before, in the order of the JSON list: that of their idempotency keys.
INSERT INTO embedq_jobs ({columns:keyed_job}) SELECT {fields:keyed_job}
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS given (value, number)
ORDER BY number
ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id;

-- name: insert_logs
-- In order, so that the numbers of the lines are.
INSERT INTO embedq_logs ({columns:log_line}) SELECT {fields:log_line}
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS given (value, place) ORDER BY place;
