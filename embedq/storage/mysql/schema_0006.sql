-- Which job killed its process? See process/poison.py. A column that is there already, from a run that was cut short, is left as it is.

-- Of the crashes, those in which no other job ran in the process: only these count towards max_crashes.
ALTER TABLE embedq_jobs ADD COLUMN crashes_alone BIGINT NOT NULL DEFAULT 0;

-- How often it lived while it ran apart as a suspect.
ALTER TABLE embedq_jobs ADD COLUMN trials BIGINT NOT NULL DEFAULT 0;
