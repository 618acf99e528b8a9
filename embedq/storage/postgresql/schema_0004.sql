-- For claims, and the ends of jobs, of any number.

-- Where all queues are worked, jobs are taken by priority and age whatever their queue: from here and from the default
-- queue's part of embedq_jobs_ready. So a job of the default queue, as most are, does not pay for it, and the number of
-- queues costs nothing.
CREATE INDEX embedq_jobs_across ON embedq_jobs (executor, priority DESC, id)
    WHERE state = 'ready' AND crashes < 2 AND queue <> 'default';
