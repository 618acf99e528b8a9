-- The parts that the shared statements leave open, as SQLite fills them in. Each set of jobs is read through the partial
-- index that holds it: INDEXED BY makes a statement fail rather than read the whole table.

-- part: by
-- The index that a statement names itself.
INDEXED BY <index>;

-- part: by_key
-- A table whose rows are found by their primary key.
embedq_<table>;

-- part: state
-- The state of a job that is found by its id.
state;

-- part: ready
embedq_jobs INDEXED BY embedq_jobs_ready WHERE state = 'ready' AND crashes < 2;

-- part: suspect
embedq_jobs INDEXED BY embedq_jobs_suspect WHERE state = 'ready' AND crashes >= 2;

-- part: by_urgency
-- The order of the jobs of one queue.
priority DESC, id;

-- part: running
embedq_jobs INDEXED BY embedq_jobs_running WHERE state = 'running';

-- part: running_on
-- The jobs that a process runs.
embedq_jobs INDEXED BY embedq_jobs_running WHERE state = 'running' AND server_id = <server>;

-- part: parked
embedq_jobs INDEXED BY embedq_jobs_parked WHERE state = 'parked';

-- part: parked_by_need
embedq_jobs INDEXED BY embedq_jobs_parked WHERE state = 'parked';

-- part: awaiting
embedq_jobs INDEXED BY embedq_jobs_awaiting WHERE state = 'awaiting';

-- part: ended
-- The jobs that ended in a state and will be pruned, in the order of that.
embedq_jobs INDEXED BY embedq_jobs_ended WHERE delete_at IS NOT NULL AND state = <state>;

-- part: children_of
embedq_jobs INDEXED BY embedq_jobs_children WHERE parent_id <is> AND parent_id IS NOT NULL;

-- part: attempts_by_end
embedq_attempts INDEXED BY embedq_attempts_finished;

-- part: across
-- The ready jobs of all queues but the default one.
embedq_jobs INDEXED BY embedq_jobs_across WHERE state = 'ready' AND crashes < 2 AND queue <> 'default' AND executor = <executor>;

-- part: batch
-- The claimed jobs as one JSON text, in one step: stepping row by row gives up the interpreter's lock at each.
json_group_array(json_array({claimed:<flag>}));

-- part: counter_key
minute, name, queue, ending;

-- part: waiting_children
embedq_jobs AS job INDEXED BY embedq_jobs_awaiting;

-- part: children_of_job
embedq_jobs AS child INDEXED BY embedq_jobs_children WHERE child.parent_id = job.id AND child.parent_id IS NOT NULL;

-- part: unpaused
embedq_schedules INDEXED BY embedq_schedules_due WHERE paused_at IS NULL;

-- part: elements
-- A JSON list, row by row: the column is `value`.
json_each(<list>);

-- part: rows
-- What follows INSERT INTO … for whole rows.
VALUES ({values:<row>});

-- part: payload
-- The arguments of a job, wherever they stand; see large.py.
CASE payload WHEN '' THEN coalesce((SELECT large.payload FROM embedq_large AS large WHERE large.job_id = id), '')
    ELSE payload END;

-- part: code
CASE payload WHEN '' THEN (SELECT large.code FROM embedq_large AS large WHERE large.job_id = id) ELSE code END;

-- part: flag
-- Whether a parameter is 1, not 0.
<number>;

-- The walks of storage/inspect/orderings.py: a table by an index, each with a condition to which others are added.

-- part: all_jobs
embedq_jobs NOT INDEXED WHERE 1 = 1;

-- part: ended_jobs
embedq_jobs INDEXED BY embedq_jobs_finished WHERE finished_at IS NOT NULL AND state = ?;

-- part: due_jobs
embedq_jobs INDEXED BY embedq_jobs_due WHERE state IN ('scheduled', 'retrying');

-- part: due_key
run_at;

-- Conditions and sums of the queries that storage/inspect composes.

-- part: name_contains
instr(name, ?) > 0;

-- part: error_contains
instr(error, ?) > 0;

-- part: payload_contains
instr({payload}, ?) > 0;

-- part: has_tag
EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(tags) THEN tags END) WHERE value = ?);

-- part: minute_bar
minute / ?;

-- part: total
-- A sum of counters. total(), because sum() fails where damaged rows add up to more than an integer holds.
CAST(total(<column>) AS INTEGER);

-- part: laned
-- The ready jobs that stand in lanes.
embedq_jobs INDEXED BY embedq_jobs_lanes WHERE state = 'ready' AND crashes < 2 AND lane_key IS NOT NULL AND executor = <executor>;

-- part: lane_head
json_array(weight, limit_1, key_1, limit_2, key_2);

-- part: permitted
embedq_jobs INDEXED BY embedq_jobs_permits WHERE state = 'running' AND limit_1 IS NOT NULL;
