-- The parts that the shared statements leave open, as PostgreSQL fills them in. The planner finds the partial index of
-- each set of jobs by its condition.

-- part: by
-- The index that a statement names on SQLite; there are no such hints here.
;

-- part: by_key
-- A table whose rows are found by their primary key.
embedq_<table>;

-- part: state
-- The state of a job that is found by its id. Written so, it keeps the planner from an index of the jobs in that state:
-- statistics from a quiet moment claim that it is empty, and all of it would be read for each row.
state || '';

-- part: ready
embedq_jobs WHERE state = 'ready' AND crashes < 2;

-- part: suspect
embedq_jobs WHERE state = 'ready' AND crashes >= 2;

-- part: by_urgency
-- The order of the jobs of one queue.
priority DESC, id;

-- part: running
embedq_jobs WHERE state = 'running';

-- part: running_on
-- The jobs that a process runs.
embedq_jobs WHERE state = 'running' AND server_id = <server>;

-- part: parked
embedq_jobs WHERE state = 'parked';

-- part: parked_by_need
embedq_jobs WHERE state = 'parked';

-- part: awaiting
embedq_jobs WHERE state = 'awaiting';

-- part: ended
-- The jobs that ended in a state and will be pruned, in the order of that.
embedq_jobs WHERE delete_at IS NOT NULL AND state = <state>;

-- part: children_of
embedq_jobs WHERE parent_id <is> AND parent_id IS NOT NULL;

-- part: attempts_by_end
embedq_attempts;

-- part: across
-- The ready jobs of all queues but the default one.
embedq_jobs WHERE state = 'ready' AND crashes < 2 AND queue <> 'default' AND executor = <executor>;

-- part: batch
-- The claimed jobs as one JSON text.
coalesce(json_agg(json_build_array({claimed:<flag>}))::text, '[]');

-- part: counter_key
-- Each connection has a row of its own, so that none waits for another's transaction.
minute, name, queue, ending, backend;

-- part: waiting_children
embedq_jobs AS job;

-- part: children_of_job
embedq_jobs AS child WHERE child.parent_id = job.id AND child.parent_id IS NOT NULL;

-- part: unpaused
embedq_schedules WHERE paused_at IS NULL;

-- part: elements
-- A JSON list, row by row: the column is `value`.
jsonb_array_elements(<list>::jsonb) AS value;

-- part: rows
-- What follows INSERT INTO … for whole rows: they come as one JSON text, a list of lists.
SELECT {fields:<row>} FROM {elements:$1};

-- part: payload
-- The arguments of a job. SQLite keeps large ones apart.
payload;

-- part: code
code;

-- part: flag
-- Whether a parameter is 1, not 0.
<number>::bigint = 1;

-- The walks of storage/inspect/orderings.py: a table by an index, each with a condition to which others are added.

-- part: all_jobs
embedq_jobs WHERE 1 = 1;

-- part: ended_jobs
embedq_jobs WHERE finished_at IS NOT NULL AND state = ?;

-- part: due_jobs
embedq_jobs WHERE state IN ('scheduled', 'retrying');

-- part: due_key
run_at;

-- Conditions and sums of the queries that storage/inspect composes.

-- part: name_contains
strpos(name, ?) > 0;

-- part: error_contains
strpos(error, ?) > 0;

-- part: payload_contains
strpos(payload, ?) > 0;

-- part: has_tag
-- As text: reading JSON would fail at a row that is damaged.
strpos(tags, to_json(?::text)::text) > 0;

-- part: minute_bar
minute / ?;

-- part: total
-- A sum of counters, within limits: damaged rows may add up to more than 64 bits hold.
LEAST(4611686018427387904, GREATEST(-4611686018427387904, sum(<column>)))::bigint;

-- part: laned
-- The ready jobs that stand in lanes.
embedq_jobs WHERE state || '' = 'ready' AND crashes < 2 AND lane_key IS NOT NULL AND executor = <executor>;

-- part: lane_head
json_build_array(weight, limit_1, key_1, limit_2, key_2)::text;

-- part: permitted
embedq_jobs WHERE state = 'running' AND limit_1 IS NOT NULL;
