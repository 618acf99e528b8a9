"""Operations on a whole queue: monitoring, actions on many jobs, copies, and checks before a deployment.

`monitor` reads everything that can be shown (`upcoming`: the next runs of recurring jobs). `actions` changes many jobs
and records it in the audit log (`action_runner` executes it). `copy` copies a queue to another database. `preflight`
finds the jobs that a new build could not run.

May import `engine` and all below. Start reading in `monitor.py`.
"""
