"""When recurring jobs are due: pure functions of a schedule and a time.

`schedule` has `Cron` and `Every`, `cron` reads a cron expression, `misfire` decides about occurrences that were
missed. The leader calls them (`maintenance/scheduler.py`). May import the ground. Start reading in `schedule.py`.
"""
