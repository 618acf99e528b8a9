-- For `embedq copy`.

-- Names this database, wherever its file lies.
CREATE TABLE embedq_identity (id TEXT NOT NULL) STRICT;
INSERT INTO embedq_identity VALUES (lower(hex(randomblob(16))));

-- How far a copy into this database has come. The row is here until the copy is complete.
CREATE TABLE embedq_copies (
    -- The identity of the database that is copied, and its URL for people.
    source TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    -- JSON: what is in it. It must be so until the end.
    census TEXT NOT NULL,
    -- The last row that was written: its table, and its key as a JSON list.
    stands_at TEXT,
    last_key TEXT,
    batches INTEGER NOT NULL,
    -- Rows with a character that this database cannot hold.
    replaced INTEGER NOT NULL,
    began_at INTEGER NOT NULL
) STRICT;
