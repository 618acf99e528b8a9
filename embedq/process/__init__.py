"""The operating system's process around embedq, and the threads in it.

Processes: whether one is alive (`liveness`), its number in the database (`registration`), its end and its forks
(`shutdown`, `hosting`), which job killed it (`poison`), whether it is a child that runs jobs (`job_process`), the
folder beside a SQLite file (`own_folder`). Threads: restarted (`supervision`), woken (`wakeup`), used by an event loop
(`offload`), interrupted (`interrupts`), protected from waiting (`own_threads`). `faults` inspects an error without
running the error's own code.

May import the ground and `observability`; neither jobs' functions nor SQL belong here. Start reading in
`supervision.py`.
"""
