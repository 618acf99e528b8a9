-- The parts that the shared statements leave open, as MySQL and MariaDB fill them in. There are no partial indexes:
-- generated columns (`lane`, `due_at`, `ended`, `across`, `urgency`) are NULL for rows that a set of jobs does not have.

-- part: by
-- The index that a statement names on SQLite; here the parts below name theirs.
;

-- part: by_key
-- A table whose rows are found by their primary key. Left to itself the server reads a table of few rows from end to
-- end, or one of which it believes that, and then waits for each row in it that an application's open transaction holds.
embedq_<table> FORCE INDEX (PRIMARY);

-- part: state
-- The state of a job that is found by its id.
state;

-- part: ready
embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane = 'ready';

-- part: suspect
embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane = 'suspect';

-- part: by_urgency
-- The order of the jobs of one queue.
urgency, id;

-- part: running
embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane LIKE 'running %';

-- part: running_on
-- The jobs that a process runs.
embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane = CONCAT('running ', <server>);

-- part: parked
embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane = 'parked';

-- part: parked_by_need
embedq_jobs FORCE INDEX (embedq_jobs_parked) WHERE state = 'parked';

-- part: awaiting
embedq_jobs FORCE INDEX (embedq_jobs_lane) WHERE lane = 'awaiting';

-- part: ended
-- The jobs that ended in a state and will be pruned, in the order of that.
embedq_jobs FORCE INDEX (embedq_jobs_ended) WHERE ended = <state>;

-- part: children_of
embedq_jobs FORCE INDEX (embedq_jobs_parent) WHERE parent_id <is>;

-- part: attempts_by_end
embedq_attempts FORCE INDEX (embedq_attempts_finished);

-- part: across
-- The ready jobs of all queues but the default one.
embedq_jobs FORCE INDEX (embedq_jobs_across) WHERE across = <executor>;

-- part: waiting_children
embedq_jobs AS job FORCE INDEX (embedq_jobs_parent);

-- part: unpaused
embedq_schedules WHERE paused_at IS NULL;

-- part: rows
-- What follows INSERT INTO … for whole rows; repeated for each.
VALUES ({values:<row>});

-- part: payload
-- The arguments of a job. SQLite keeps large ones apart.
payload;

-- part: code
code;

-- part: flag
-- Whether a parameter is 1, not 0.
<number>;

-- The walks of storage/inspect/orderings.py: a table by an index, each with a condition to which others are added.

-- part: all_jobs
embedq_jobs FORCE INDEX (PRIMARY) WHERE 1 = 1;

-- part: ended_jobs
embedq_jobs FORCE INDEX (embedq_jobs_finished) WHERE ended = ?;

-- part: due_jobs
embedq_jobs FORCE INDEX (embedq_jobs_due) WHERE due_at IS NOT NULL;

-- part: due_key
due_at;

-- Conditions and sums of the queries that storage/inspect composes.

-- part: name_contains
LOCATE(?, name) > 0;

-- part: error_contains
LOCATE(?, error) > 0;

-- part: payload_contains
LOCATE(?, payload) > 0;

-- part: has_tag
-- As text: reading JSON would fail at a row that is damaged.
LOCATE(JSON_QUOTE(?), tags) > 0;

-- part: minute_bar
minute DIV ?;

-- part: total
-- A sum of counters, which is a decimal here.
CAST(sum(<column>) AS SIGNED);

-- part: laned
-- The ready jobs that stand in lanes.
embedq_jobs FORCE INDEX (embedq_jobs_lanes) WHERE queued = <executor>;

-- part: lane_head
JSON_ARRAY(weight, limit_1, key_1, limit_2, key_2);

-- part: permitted
-- By the index of running jobs, which has the executor.
embedq_jobs FORCE INDEX (embedq_jobs_lane)
WHERE lane LIKE 'running %' AND executor IN ('thread lane', 'async lane', 'process lane') AND limit_1 IS NOT NULL;
