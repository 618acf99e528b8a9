-- For claims, and the ends of jobs, of any number. A column or index that is there already, from a run that was cut
-- short, is left as it is.

-- Where all queues are worked, jobs are taken by priority and age whatever their queue: from here and from the default
-- queue's part of embedq_jobs_lane. So the number of queues costs nothing.
ALTER TABLE embedq_jobs ADD COLUMN across VARCHAR(16) AS (
    CASE WHEN state = 'ready' AND crashes < 2 AND queue <> 'default' THEN executor END) STORED;
ALTER TABLE embedq_jobs ADD INDEX embedq_jobs_across (across, urgency, id);
