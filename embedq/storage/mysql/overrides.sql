-- Statements that MySQL and MariaDB write in another way than storage/sql does, or have alone.
--
-- Where a name stands for several statements they run one after another; its rows are those of the last one that has any,
-- its count that of the last.

-- name: adopt_claims
-- By the column that an index has.
UPDATE embedq_jobs SET server_id = $1 WHERE lane = CONCAT('running ', $2);

-- name: take_lease
-- In two steps: ON DUPLICATE KEY has no condition.
INSERT IGNORE INTO embedq_leases (name, holder, term, expires_at) VALUES ($1, $2, 1, $3);
UPDATE embedq_leases SET term = term + (holder <> $2), holder = $2, expires_at = $3
WHERE name = $1 AND (holder = $2 OR expires_at <= $4);

-- name: insert_schedule
-- Columns are set from left to right, so that the spec comes last.
INSERT INTO embedq_schedules (name, spec, misfire, task, template, overlap, next_fire_at, due_at, created_at,
    updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
ON DUPLICATE KEY UPDATE misfire = $3, task = $4, template = $5, overlap = $6, updated_at = $9, error = NULL,
    next_fire_at = IF(spec = $2, next_fire_at, $7), due_at = next_fire_at, spec = $2;

-- name: recorded_occurrences
-- Joined in this order: neither product finds places in an index by a list of pairs.
SELECT line.schedule, line.fire_at, line.outcome
FROM JSON_TABLE($1, '$[*]' COLUMNS (
    schedule VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[0]', fire_at BIGINT PATH '$[1]')) AS given
STRAIGHT_JOIN embedq_occurrences AS line ON line.schedule = given.schedule AND line.fire_at = given.fire_at;

-- name: record_occurrences
-- Texts name their character set, or they would be in the one that the server has for new databases.
INSERT INTO embedq_occurrences ({columns:occurrences})
SELECT * FROM JSON_TABLE($1, '$[*]' COLUMNS (
    schedule VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[0]', fire_at BIGINT PATH '$[1]',
    outcome VARCHAR(16) CHARACTER SET utf8mb4 PATH '$[2]', last_fire_at BIGINT PATH '$[3]',
    occurrences BIGINT PATH '$[4]', job_id BIGINT PATH '$[5]', reason LONGTEXT CHARACTER SET utf8mb4 PATH '$[6]',
    recorded_at BIGINT PATH '$[7]')) AS given;

-- name: record_occurrence
-- In two steps: ON DUPLICATE KEY has no condition.
DELETE FROM embedq_occurrences
WHERE schedule = $1 AND fire_at = $2 AND outcome IN ('triggered', 'changed')
    AND $3 NOT IN ('triggered', 'changed');
INSERT IGNORE INTO embedq_occurrences ({columns:occurrences}) VALUES ({values:occurrences});

-- name: advance_schedules
-- JSON_TABLE in the place of a list of rows.
UPDATE JSON_TABLE($1, '$[*]' COLUMNS (
    name VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[0]', next_fire_at BIGINT PATH '$[1]',
    last_fire_at BIGINT PATH '$[2]', last_job_id BIGINT PATH '$[3]', runs LONGTEXT PATH '$[4]',
    skipped BIGINT PATH '$[5]')) AS done
STRAIGHT_JOIN embedq_schedules AS schedule FORCE INDEX (PRIMARY) ON schedule.name = done.name
SET schedule.next_fire_at = done.next_fire_at, schedule.due_at = done.next_fire_at,
    schedule.last_fire_at = coalesce(done.last_fire_at, schedule.last_fire_at),
    schedule.last_job_id = coalesce(done.last_job_id, schedule.last_job_id),
    schedule.runs = done.runs, schedule.skipped = done.skipped, schedule.error = NULL;

-- name: delete_occurrences
-- A DELETE has a limit of its own, and none in a subquery on its own table.
DELETE FROM embedq_occurrences WHERE recorded_at < $1 ORDER BY recorded_at LIMIT $2;

-- name: delete_actions
-- Likewise.
DELETE FROM embedq_actions WHERE at < $1 ORDER BY id LIMIT $2;

-- name: raise_numbers
-- A SELECT with a condition needs a table.
INSERT INTO embedq_servers (id, uuid, host, hostname, pid, version, workers, started_at, heartbeat_at)
SELECT $3, 'copied', '', '', 0, '', 0, 0, 0 FROM DUAL
WHERE $3 > (SELECT coalesce(max(id), 0) FROM embedq_servers AS known);

-- name: parked_needs
-- The index holds needs, not states; only parked jobs need something.
SELECT DISTINCT needs FROM embedq_jobs FORCE INDEX (embedq_jobs_parked) WHERE needs IS NOT NULL;

-- name: news
-- JSON_TABLE in the place of PostgreSQL's functions; a SELECT with a condition needs a table.
SELECT 'cancel', NULL, id, claim FROM {running_on:$1} AND cancel_requested_at IS NOT NULL
UNION ALL
SELECT 'ready', NULL, NULL, NULL FROM DUAL
WHERE CASE WHEN $2 IS NULL
    THEN (SELECT 1 FROM {ready} LIMIT 1)
    ELSE (SELECT 1 FROM JSON_TABLE(coalesce($2, '[]'), '$[*]' COLUMNS (queue VARCHAR(255) PATH '$')) AS given,
              (SELECT 'thread' AS executor UNION ALL SELECT 'async' UNION ALL SELECT 'process'
               UNION ALL SELECT 'thread lane' UNION ALL SELECT 'async lane' UNION ALL SELECT 'process lane') AS six
          WHERE (SELECT 1 FROM embedq_jobs AS job FORCE INDEX (embedq_jobs_lane)
                 WHERE lane = 'ready' AND job.executor = six.executor AND job.queue = given.queue LIMIT 1)
          LIMIT 1) END
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM {suspect} AND ($2 IS NULL OR queue IN $2[])
UNION ALL
SELECT 'hold', CONCAT(kind, ' ', name), until, NULL FROM embedq_holds
UNION ALL
(SELECT 'due', NULL, {due_key}, NULL FROM {due_jobs} ORDER BY {due_key} LIMIT 1);

-- name: queue_levels
-- By urgency, the negative of the priority, which the index has.
WITH RECURSIVE level (place, number) AS (
    SELECT (SELECT urgency FROM {ready} AND executor = $1 AND queue = $2 ORDER BY urgency LIMIT 1), 1
    UNION ALL
    SELECT (SELECT urgency FROM {ready} AND executor = $1 AND queue = $2 AND urgency > level.place
            ORDER BY urgency LIMIT 1), number + 1
    FROM level WHERE level.place IS NOT NULL AND number < 50
)
SELECT min((SELECT run_at FROM {ready} AND executor = $1 AND queue = $2 AND urgency = level.place ORDER BY id LIMIT 1))
FROM level WHERE level.place IS NOT NULL;

-- name: insert_job
-- The only conflict there can be is an idempotency key's.
INSERT INTO embedq_jobs ({columns:any_job}) VALUES ({values:any_job});

-- name: insert_alike
-- The row of values is repeated for each payload. VALUES, not SELECT: only then are the ids known to be consecutive.
INSERT INTO embedq_jobs ({columns:new_job}) VALUES ({alike:$22});

-- name: insert_each
-- Likewise, for each row.
INSERT INTO embedq_jobs ({columns:new_job}) VALUES ({values:new_job});

-- name: insert_unkeyed
-- As insert_each, with the idempotency key put by in another column, from where `take_keys` takes it.
INSERT INTO embedq_jobs ({columns:unkeyed_job}) VALUES ({values:unkeyed_job});

-- name: take_keys
-- In the order of the keys. One that is taken stays where it was put by.
UPDATE IGNORE embedq_jobs FORCE INDEX (PRIMARY) SET idempotency_key = progress_note, progress_note = NULL
WHERE id IN $1[] ORDER BY progress_note, id;

-- name: refused_keys
-- The jobs whose key another one has.
SELECT id FROM embedq_jobs FORCE INDEX (PRIMARY) WHERE id IN $1[] AND progress_note IS NOT NULL;

-- name: inserted_ids
-- The first id of the latest insert, and the step to the next.
SELECT LAST_INSERT_ID(), @@auto_increment_increment;

-- name: job_ids_by_keys
-- Not locked: of a small table the server would read, and lock, the whole index. What an older snapshot lacks is read
-- one by one.
SELECT idempotency_key, id FROM embedq_jobs FORCE INDEX (embedq_jobs_key) WHERE idempotency_key IN $1[];

-- name: job_id_by_key
-- The latest there is, though the transaction of an application may have an older snapshot.
SELECT id FROM embedq_jobs WHERE idempotency_key = $1 LOCK IN SHARE MODE;

-- name: promote_due
-- A derived table is locked as it is read, once.
UPDATE (
    SELECT id FROM embedq_jobs FORCE INDEX (embedq_jobs_due) WHERE due_at <= $1 ORDER BY due_at LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS due STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = due.id
SET job.state = 'ready';

-- name: put_hold
-- The only conflict there can be is that of its key.
INSERT INTO embedq_holds ({columns:holds}) VALUES ({values:holds})
ON DUPLICATE KEY UPDATE until = $3, reason = $4, actor = $5, since = $6;

-- name: restore_hold
-- Likewise.
INSERT IGNORE INTO embedq_holds ({columns:holds}) VALUES ({values:holds});

-- name: park_held
-- A derived table is locked as it is read, once.
UPDATE (
    SELECT id FROM embedq_jobs FORCE INDEX (PRIMARY) WHERE id IN $2[] AND state IN ('ready', 'parked')
    ORDER BY id FOR UPDATE SKIP LOCKED
) AS held STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = held.id
SET job.state = 'parked', job.needs = $1;

-- name: release_held
-- Likewise.
UPDATE (
    SELECT id FROM {parked_by_need} AND needs = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
) AS held STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = held.id
SET job.state = 'ready', job.needs = NULL;

-- name: survey
-- JSON_TABLE in the place of PostgreSQL's functions.
SELECT 'ready', one.executor, given.queue, NULL
FROM JSON_TABLE($1, '$[*]' COLUMNS (executor VARCHAR(16) PATH '$')) AS one,
     JSON_TABLE(coalesce($2, '["default"]'), '$[*]' COLUMNS (queue VARCHAR(255) PATH '$')) AS given
WHERE (SELECT 1 FROM embedq_jobs AS job FORCE INDEX (embedq_jobs_lane)
       WHERE lane = 'ready' AND job.executor = one.executor AND job.queue = given.queue LIMIT 1)
UNION ALL
SELECT 'any', one.executor, NULL, NULL FROM JSON_TABLE($1, '$[*]' COLUMNS (executor VARCHAR(16) PATH '$')) AS one
WHERE $2 IS NOT NULL AND (SELECT 1 FROM embedq_jobs AS job FORCE INDEX (embedq_jobs_lane)
                          WHERE lane = 'ready' AND job.executor = one.executor LIMIT 1)
UNION ALL
SELECT 'across', one.executor, NULL, NULL FROM JSON_TABLE($1, '$[*]' COLUMNS (executor VARCHAR(16) PATH '$')) AS one
WHERE $2 IS NULL
  AND (SELECT 1 FROM embedq_jobs AS job FORCE INDEX (embedq_jobs_across) WHERE job.across = one.executor LIMIT 1)
UNION ALL
SELECT DISTINCT 'suspect', executor, NULL, NULL FROM {suspect} AND ($3 IS NULL OR queue IN $3[])
UNION ALL
SELECT 'hold', kind, name, until FROM embedq_holds
UNION ALL
(SELECT 'due', NULL, NULL, {due_key} FROM {due_jobs} ORDER BY {due_key} LIMIT 1);

-- name: ready_queues
-- One step of many; see queues.py. The first queue after $2 that has a ready job.
SELECT queue FROM {ready} AND executor = $1 AND ($2 IS NULL OR queue > $2) ORDER BY queue LIMIT 1;

-- name: ready_jobs
-- As rows: a derived table would copy them.
SELECT {claimed:$4} FROM {ready} AND executor = $1 AND queue = $2 ORDER BY {by_urgency} LIMIT $3
FOR UPDATE SKIP LOCKED;

-- name: measure_queue
-- A sum is a decimal here.
SELECT 0, count(*), CAST(coalesce(sum(bytes), 0) AS SIGNED)
FROM (SELECT LENGTH(payload) + coalesce(LENGTH(code), 0) AS bytes
      FROM {ready} AND executor = $1 AND queue = $2 ORDER BY {by_urgency} LIMIT $3) AS first;

-- name: jobs_across
-- As ready_jobs.
SELECT {claimed:$3} FROM {across:$1} ORDER BY {by_urgency} LIMIT $2
FOR UPDATE SKIP LOCKED;

-- name: measure_across
-- A sum is a decimal here.
SELECT CAST(coalesce(sum(of_default), 0) AS SIGNED), CAST(coalesce(sum(1 - of_default), 0) AS SIGNED),
    CAST(coalesce(sum(bytes), 0) AS SIGNED)
FROM ((SELECT 1 AS of_default, id, urgency, LENGTH(payload) + coalesce(LENGTH(code), 0) AS bytes
       FROM {ready} AND executor = $1 AND queue = 'default' ORDER BY {by_urgency} LIMIT $2)
      UNION ALL
      (SELECT 0, id, urgency, LENGTH(payload) + coalesce(LENGTH(code), 0)
       FROM {across:$1} ORDER BY {by_urgency} LIMIT $2)
      ORDER BY {by_urgency} LIMIT $2) AS first;

-- name: suspect_jobs
-- As ready_jobs.
SELECT {claimed:$4} FROM {suspect} AND executor IN $1[] AND ($2 IS NULL OR queue IN $2[])
ORDER BY crashes - 2 * crashes_alone - trials DESC, trials, id LIMIT $3
FOR UPDATE SKIP LOCKED;

-- name: parked_jobs
-- As ready_jobs.
SELECT {claimed:$5} FROM {parked_by_need} AND needs IN $1[] AND executor = $2 AND ($3 IS NULL OR queue IN $3[])
ORDER BY needs, id LIMIT $4
FOR UPDATE SKIP LOCKED;

-- name: claim_jobs
-- The server's row is written, so that it is locked and cannot be given up on between this and the commit.
UPDATE embedq_servers AS server STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY)
SET server.stopping_at = server.stopping_at, job.state = 'running', job.claim = job.claim + 1,
    job.attempt = job.attempt + 1, job.server_id = $1, job.started_at = $2,
    job.first_started_at = coalesce(job.first_started_at, $2), job.needs = NULL, job.error = NULL, job.overdue_at = NULL
WHERE server.id = $1 AND job.id IN $3[];

-- name: succeed_jobs
-- Texts name their character set, or they would be in the one that the server has for new databases.
UPDATE JSON_TABLE($1, '$[*]' COLUMNS (
    id BIGINT PATH '$[0]', claim BIGINT PATH '$[1]', started_at BIGINT PATH '$[2]', finished_at BIGINT PATH '$[3]',
    delete_at BIGINT PATH '$[4]', result LONGTEXT CHARACTER SET utf8mb4 PATH '$[5]',
    error LONGTEXT CHARACTER SET utf8mb4 PATH '$[6]')) AS done
STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = done.id
SET job.state = 'succeeded', job.started_at = done.started_at, job.finished_at = done.finished_at,
    job.delete_at = done.delete_at, job.result = done.result, job.error = done.error,
    job.cancel_requested_at = NULL, job.overdue_at = NULL
WHERE job.claim = done.claim AND job.state = 'running';

-- name: succeed_plain
-- Likewise.
UPDATE JSON_TABLE($1, '$[*]' COLUMNS (
    id BIGINT PATH '$[0]', claim BIGINT PATH '$[1]', started_at BIGINT PATH '$[2]', finished_at BIGINT PATH '$[3]'
)) AS done
STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = done.id
SET job.state = 'succeeded', job.started_at = done.started_at, job.finished_at = done.finished_at,
    job.delete_at = done.finished_at + $2, job.result = NULL, job.error = NULL,
    job.cancel_requested_at = NULL, job.overdue_at = NULL
WHERE job.claim = done.claim AND job.state = 'running';

-- name: count_minute
-- Each connection has a row of its own, so that none waits for another's transaction.
INSERT INTO embedq_counters (minute, name, queue, ending, jobs, ran_us, waited_us, cpu_us, backend)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CONNECTION_ID())
ON DUPLICATE KEY UPDATE jobs = GREATEST(-4611686018427387904, LEAST(4611686018427387904, jobs)) + $5,
    ran_us = GREATEST(-4611686018427387904, LEAST(4611686018427387904, ran_us)) + $6,
    waited_us = GREATEST(-4611686018427387904, LEAST(4611686018427387904, waited_us)) + $7,
    cpu_us = GREATEST(-4611686018427387904, LEAST(4611686018427387904, cpu_us)) + $8;

-- name: count_minutes
-- Likewise.
INSERT INTO embedq_counters (minute, name, queue, ending, jobs, ran_us, waited_us, cpu_us, backend)
SELECT fresh.minute, fresh.name, fresh.queue, fresh.ending, fresh.jobs, fresh.ran_us, fresh.waited_us, fresh.cpu_us,
    CONNECTION_ID()
FROM JSON_TABLE($1, '$[*]' COLUMNS (
    minute BIGINT PATH '$[0]', name VARCHAR(400) CHARACTER SET utf8mb4 PATH '$[1]',
    queue VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[2]', ending VARCHAR(16) PATH '$[3]', jobs BIGINT PATH '$[4]',
    ran_us BIGINT PATH '$[5]', waited_us BIGINT PATH '$[6]', cpu_us BIGINT PATH '$[7]')) AS fresh
ON DUPLICATE KEY UPDATE jobs = GREATEST(-4611686018427387904, LEAST(4611686018427387904, embedq_counters.jobs)) + fresh.jobs,
    ran_us = GREATEST(-4611686018427387904, LEAST(4611686018427387904, embedq_counters.ran_us)) + fresh.ran_us,
    waited_us = GREATEST(-4611686018427387904, LEAST(4611686018427387904, embedq_counters.waited_us)) + fresh.waited_us,
    cpu_us = GREATEST(-4611686018427387904, LEAST(4611686018427387904, embedq_counters.cpu_us)) + fresh.cpu_us;

-- name: cancel_children
-- CONCAT, since || is a logical OR here.
UPDATE embedq_jobs FORCE INDEX (PRIMARY) SET state = 'cancelled', finished_at = $1, delete_at = $2,
    error = CONCAT('its parent ', parent_id, ' ended as ', $3, '; it waited for ', `trigger`)
WHERE id IN $4[] AND state = 'awaiting';

-- name: decide_later
-- JSON_TABLE in the place of a JSON list.
INSERT INTO embedq_unsettled (parent_id, reviving, after_id)
SELECT given.id, 0, 0 FROM JSON_TABLE($1, '$[*]' COLUMNS (id BIGINT PATH '$')) AS given
WHERE (SELECT 1 FROM embedq_jobs FORCE INDEX (embedq_jobs_parent)
       WHERE parent_id = given.id AND state = 'awaiting' LIMIT 1)
ON DUPLICATE KEY UPDATE reviving = embedq_unsettled.reviving;

-- name: revive_later
-- Likewise.
INSERT INTO embedq_unsettled (parent_id, reviving, after_id)
SELECT given.id, 1, 0 FROM JSON_TABLE($1, '$[*]' COLUMNS (id BIGINT PATH '$')) AS given
WHERE (SELECT 1 FROM embedq_jobs FORCE INDEX (embedq_jobs_parent) WHERE parent_id = given.id LIMIT 1)
ON DUPLICATE KEY UPDATE reviving = 1, after_id = 0;

-- name: cancel_requested
-- In two steps: locked whatever the answer.
SELECT 1 FROM embedq_jobs WHERE id = $1 AND claim = $2 AND state = 'running' FOR UPDATE;
SELECT options FROM embedq_jobs
WHERE id = $1 AND claim = $2 AND state = 'running' AND cancel_requested_at IS NOT NULL;

-- name: died_alone
-- By lane, which an index has.
SELECT id FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane = 'suspect' AND crashes_alone > 0 AND executor NOT LIKE 'process%'
UNION ALL
SELECT id FROM embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane LIKE 'running %' AND crashes_alone > 0 AND executor NOT LIKE 'process%'
LIMIT 2;

-- name: expired_after
-- In two parts: neither server finds a place in an index by two columns at once.
(SELECT id, delete_at FROM embedq_jobs FORCE INDEX (embedq_jobs_ended)
 WHERE ended = $1 AND delete_at = $2 AND id > $3 AND delete_at <= $4 ORDER BY id LIMIT $5)
UNION ALL
(SELECT id, delete_at FROM embedq_jobs FORCE INDEX (embedq_jobs_ended)
 WHERE ended = $1 AND delete_at > $2 AND delete_at <= $4 ORDER BY delete_at, id LIMIT $5)
ORDER BY delete_at, id LIMIT $5;

-- name: prunable_jobs
-- No NOT EXISTS: MariaDB would collect the children of all jobs for it.
SELECT id FROM embedq_jobs AS job FORCE INDEX (PRIMARY)
WHERE id IN $1[] AND delete_at <= $2 AND (
    SELECT 1 FROM embedq_jobs AS child FORCE INDEX (embedq_jobs_parent)
    WHERE child.parent_id = job.id AND child.delete_at IS NULL LIMIT 1) IS NULL
    AND id < (SELECT max(id) FROM embedq_jobs)
FOR UPDATE SKIP LOCKED;

-- name: delete_jobs
-- Joined to a list of the ids, since MariaDB takes an index for no more than a hint where a DELETE joins tables.
DELETE job FROM JSON_TABLE($1, '$[*]' COLUMNS (id BIGINT PATH '$')) AS given
    STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = given.id
    LEFT JOIN embedq_jobs AS child FORCE INDEX (embedq_jobs_parent) ON child.parent_id = job.id AND child.delete_at IS NULL
WHERE child.id IS NULL;

-- name: delete_attempts
-- A DELETE reads no table that it deletes from, but joins it.
DELETE attempt FROM embedq_attempts AS attempt LEFT JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = attempt.job_id
WHERE attempt.job_id IN $1[] AND job.id IS NULL;

-- name: delete_logs
-- Likewise.
DELETE log FROM embedq_logs AS log LEFT JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = log.job_id
WHERE log.job_id IN $1[] AND job.id IS NULL;

-- name: lane_level
-- By urgency, the negative of the priority, which the index has.
SELECT -urgency FROM {laned:$1} AND queue = $2 AND urgency > -$3 ORDER BY urgency LIMIT 1;

-- name: visit_lanes
-- One step of many; see queues.py. The first lane from $4 on, or after it where $5 is 1.
SELECT lane_key, {lane_head} FROM {laned:$1} AND queue = $2 AND urgency = -$3 AND lane_key >= $4
    AND (lane_key > $4 OR $5 = 0)
ORDER BY lane_key, id LIMIT 1;

-- name: lane_jobs
-- As ready_jobs. By id alone: MariaDB sorts for "lane_key, id", and so reads and locks the whole lane, which other
-- processes then take for empty.
SELECT {claimed:$6} FROM {laned:$1} AND queue = $2 AND urgency = -$3 AND lane_key = $4 ORDER BY id LIMIT $5
FOR UPDATE SKIP LOCKED;

-- name: wake_parked
-- A derived table is locked as it is read, once.
UPDATE (
    SELECT id FROM {parked_by_need} AND needs IN $1[] AND executor IN $2[] ORDER BY needs, id LIMIT $3
    FOR UPDATE SKIP LOCKED
) AS woken STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = woken.id
SET job.state = 'ready', job.needs = NULL;

-- name: create_permits
-- JSON_TABLE in the place of a JSON list.
INSERT IGNORE INTO embedq_permits (permit, tats, used_at)
SELECT given.permit, '', $2
FROM JSON_TABLE($1, '$[*]' COLUMNS (permit VARCHAR(700) CHARACTER SET utf8mb4 PATH '$')) AS given ORDER BY given.permit;

-- name: close_permit
-- The only conflict there can be is that of its key.
INSERT INTO embedq_permits (permit, tats, closed_until, used_at) VALUES ($1, '', $2, $3)
ON DUPLICATE KEY UPDATE closed_until = GREATEST(coalesce(closed_until, 0), $2);

-- name: declare_limit
-- Likewise.
INSERT INTO embedq_limits (name, total, per_key, rates, updated_at) VALUES ($1, $2, $3, $4, $5)
ON DUPLICATE KEY UPDATE total = $2, per_key = $3, rates = $4, updated_at = $5;

-- name: lane_front
-- By the id alone, as lane_jobs.
SELECT id, run_at FROM {laned:$1} AND queue = $2 AND urgency = -$3 AND lane_key = $4 ORDER BY id LIMIT $5;

-- name: failed_starts
-- From the attempts to their jobs, in this order whatever the statistics are.
SELECT job.limit_1, job.key_1, job.limit_2, job.key_2, max(attempt.started_at)
FROM (SELECT job_id, started_at FROM {attempts_by_end} ORDER BY finished_at DESC LIMIT $1) AS attempt
STRAIGHT_JOIN embedq_jobs AS job FORCE INDEX (PRIMARY) ON job.id = attempt.job_id
WHERE job.limit_1 IS NOT NULL GROUP BY job.limit_1, job.key_1, job.limit_2, job.key_2;

-- name: count_ahead
-- By urgency.
SELECT count(*) FROM (SELECT 1 FROM {laned:$1} AND queue = $2 AND urgency = -$3 AND lane_key = $4 AND id < $5
                      LIMIT $6) AS ahead;

-- name: reserve_unique_key
-- This locks the row as it is to be locked; INSERT IGNORE would lock it for reading first, and two that do wait for each
-- other.
INSERT INTO embedq_unique_keys (unique_key, job_id, until) VALUES ($1, 0, 0) ON DUPLICATE KEY UPDATE until = until;
