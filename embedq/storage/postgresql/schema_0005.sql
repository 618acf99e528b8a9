-- For the ends of jobs with many continuations, and for pruning beside many that are kept.

-- Parents that have ended, or were retried, with more children than their transaction could take: `settle` of
-- storage/continuations.py goes on. Empty but for seconds.
CREATE TABLE embedq_unsettled (
    parent_id BIGINT PRIMARY KEY,
    -- 1: first those wait again that were cancelled because it had failed.
    reviving BIGINT NOT NULL,
    -- The children up to this id have been seen to.
    after_id BIGINT NOT NULL
);
-- A parent's children, and what is to be pruned, are walked through in an order that can be gone on with.
DROP INDEX embedq_jobs_children;
CREATE INDEX embedq_jobs_children ON embedq_jobs (parent_id, id) WHERE parent_id IS NOT NULL;
DROP INDEX embedq_jobs_ended;
CREATE INDEX embedq_jobs_ended ON embedq_jobs (state, delete_at, id) WHERE delete_at IS NOT NULL;
