-- For the ends of jobs with many continuations.

-- Parents that have ended, or were retried, with more children than their transaction could take: `settle` of
-- storage/continuations.py goes on. Empty but for seconds.
CREATE TABLE IF NOT EXISTS embedq_unsettled (
    parent_id BIGINT NOT NULL PRIMARY KEY,
    -- 1: first those wait again that were cancelled because it had failed.
    reviving BIGINT NOT NULL,
    -- The children up to this id have been seen to.
    after_id BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};
