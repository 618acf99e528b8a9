"""The parts of an app: stored jobs, recurring jobs, transactions, deferred enqueueing, waiting."""
