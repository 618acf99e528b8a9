"""What looks after the rest: heartbeats, rescue of the dead, leadership, recurring jobs, pruning."""
