"""Orders, jobs and tasks."""
