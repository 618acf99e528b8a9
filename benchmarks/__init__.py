"""How fast embedq is, measured beside what its database itself allows on the same machine in the same minute.

    python -m benchmarks                    # everything on SQLite, about a quarter of an hour
    python -m benchmarks --quick            # small sizes, a minute or so: does it work, and roughly how fast
    python -m benchmarks --only drain --durability full --json drain.json
    python -m benchmarks --database postgresql://user:password@host/database
    python -m benchmarks --database mysql://user:password@host/database

`measures/` holds one file a measure, `places/` one a database, `limits.py` what each is compared with, `marks.py` what
it should reach. A benchmark is not a test: a figure that misses its mark is reported as it is, and the exit code is 0.
"""
