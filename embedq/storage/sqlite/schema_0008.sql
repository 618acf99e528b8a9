-- SQLite writes a whole row anew whenever one of its columns changes, and a job's row changes with its state. So large
-- arguments stand in a table of their own, and are written once; see large.py.

CREATE TABLE embedq_large (
    job_id INTEGER PRIMARY KEY,
    payload TEXT NOT NULL,
    code TEXT
) STRICT;

-- A job whose arguments stand here has an empty payload, which it never has otherwise.
CREATE TRIGGER embedq_large_deleted AFTER DELETE ON embedq_jobs WHEN OLD.payload = ''
BEGIN
    DELETE FROM embedq_large WHERE job_id = OLD.id;
END;
