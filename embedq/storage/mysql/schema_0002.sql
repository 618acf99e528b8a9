-- For `embedq copy`: how far a copy into this database has come. The row is here until the copy is complete.
CREATE TABLE IF NOT EXISTS embedq_copies (
    -- The identity of the database that is copied, and its URL for people.
    source VARCHAR(64) NOT NULL PRIMARY KEY,
    label LONGTEXT NOT NULL,
    -- JSON: what is in it. It must be so until the end.
    census LONGTEXT NOT NULL,
    -- The last row that was written: its table, and its key as a JSON list.
    stands_at VARCHAR(32),
    last_key LONGTEXT,
    batches BIGINT NOT NULL,
    -- Rows with a character that this database cannot hold.
    replaced BIGINT NOT NULL,
    began_at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation};
