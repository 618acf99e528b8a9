"""Stored values as text for messages, the command line and the dashboard.

`calls` formats stored calls, `units` formats numbers, times and durations, `redaction` removes secrets. Nothing is
imported or unpickled. May import the ground. Start reading in `calls.py`.
"""
