"""The parts of an app: its lifecycle in this process, and the work behind its verbs.

`lifecycle` opens the database and starts and stops the threads, which `runtime` puts together. From a call to a job:
`job_builder` makes the row, `enqueueing` writes it, `transactions` does so in the application's own transaction, and
`deferred` after that (`commit_hooks`). `stored_jobs` reads, cancels and retries, `waiting` waits, `recurring` stores
recurring jobs.

May import all below: `worker`, `maintenance`, `storage`, `tasks`, …. `app` passes in what it needs of the rooms above.
Start reading in `lifecycle.py`, then `enqueueing.py`.
"""
