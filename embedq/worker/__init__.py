"""Runs jobs: the dispatcher, the threads, the event loop and the child processes, and the watchdog.

`dispatcher` claims jobs and records outcomes, on the one thread that does. Its parts: `claim_planner` (how much to
claim), `turn` (one transaction), `hand_over` (a job that starts without a turn), `reconciliation` and `claim_ledger`
(which claims are this process's). `runners` runs each job on threads (`pool`), on the event loop (`async_runner`,
`event_loop`) or in a child process (`processes`). `execution` makes the call, and `outcomes` turns the result into an
outcome. `parts` is what all of them share.

May import all below, and not `maintenance`. Start reading in `dispatcher.py`, then `execution.py`.
"""
