-- For the ends of jobs with many continuations, and for pruning beside many that are kept.

-- Parents that have ended, or were retried, with more children than their transaction could take: `settle` of
-- storage/continuations.py goes on. Empty but for seconds.
CREATE TABLE embedq_unsettled (
    parent_id INTEGER PRIMARY KEY,
    -- 1: first those wait again that were cancelled because it had failed.
    reviving INTEGER NOT NULL,
    -- The children up to this id have been seen to.
    after_id INTEGER NOT NULL
) STRICT;
