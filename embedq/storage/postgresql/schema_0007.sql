-- For those who look at a process from outside.

-- JSON: how often each of its threads had to be started again, the last reason, and when; NULL when none had to.
ALTER TABLE embedq_servers ADD COLUMN restarts TEXT;
