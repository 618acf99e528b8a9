"""Jobs with `executor="process"`, and the child processes that run them.

`pool` keeps the processes, `run` runs one job, `handle` holds one process, and `protocol` defines the messages between
the two sides. `child` is the other side; `imports` finds the app's functions there.

May import the rest of `worker` and what that may; `child` and `imports` must not hold a database. Start reading in
`protocol.py`.
"""
