"""When recurring jobs are due, and what happens to occurrences that were missed."""
