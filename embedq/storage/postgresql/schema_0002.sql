-- For `embedq copy`: how far a copy into this database has come. The row is here until the copy is complete.
CREATE TABLE embedq_copies (
    -- The identity of the database that is copied, and its URL for people.
    source TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    -- JSON: what is in it. It must be so until the end.
    census TEXT NOT NULL,
    -- The last row that was written: its table, and its key as a JSON list.
    stands_at TEXT,
    last_key TEXT,
    batches BIGINT NOT NULL,
    -- Rows with a character that this database cannot hold.
    replaced BIGINT NOT NULL,
    began_at BIGINT NOT NULL
);
