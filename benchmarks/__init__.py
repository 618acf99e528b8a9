"""How fast embedq is, measured beside what SQLite itself allows on the same machine in the same minute.

    python -m benchmarks                    # everything, about ten minutes
    python -m benchmarks --quick            # small sizes, under a minute: does it work, and roughly how fast
    python -m benchmarks --only drain --durability full --json drain.json

`measures/` holds one file a measure, `limits.py` what each is compared with. A benchmark is not a test: a figure that
misses its mark is reported as it is, and the exit code is 0.
"""
