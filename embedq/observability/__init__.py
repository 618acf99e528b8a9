"""What embedq reports about itself.

`log` has the loggers, whose calls never raise; `outage` logs an outage of the database once, not once a thread. May
import the ground and `display`. Start reading in `log.py`.
"""
