"""Threads, event loops and processes that run jobs."""
