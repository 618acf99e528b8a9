-- Which job killed its process? See process/poison.py.

-- Of the crashes, those in which no other job ran in the process: only these count towards max_crashes.
ALTER TABLE embedq_jobs ADD COLUMN crashes_alone INTEGER NOT NULL DEFAULT 0;

-- How often it lived while it ran apart as a suspect.
ALTER TABLE embedq_jobs ADD COLUMN trials INTEGER NOT NULL DEFAULT 0;
