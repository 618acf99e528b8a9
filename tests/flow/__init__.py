"""How many jobs may run at a time."""
