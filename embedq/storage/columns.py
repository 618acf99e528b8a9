"""The tables and their columns, in one list: statements that insert, read and copy whole rows are built from it.

A column of jobs stands in `JOBS` once. Where a row of fewer columns crosses the seam, its type in `rows.py` is the list
(`NewJob`, `ClaimedJob`): the statements follow its fields. `named_sql` makes the lists into SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from embedq.storage.rows import PLAIN, STARTED, NewJob

Columns = Mapping[str, type]

# In the order in which rows are copied from one database to another; a row that is copied has them all.
JOBS: Columns = {
    "id": int, "state": str, "executor": str, "queue": str, "priority": int, "name": str, "payload": str, "code": str,
    "options": str, "tags": str, "idempotency_key": str, "parent_id": int, "trigger": str, "schedule": str,
    "created_at": int, "run_at": int, "expires_at": int, "first_started_at": int, "started_at": int,
    "finished_at": int, "delete_at": int, "attempt": int, "claim": int, "crashes": int, "server_id": int,
    "cancel_requested_at": int, "overdue_at": int, "needs": str, "error": str, "result": str, "progress": float,
    "progress_note": str, "crashes_alone": int, "trials": int, "lane_key": str, "weight": int, "limit_1": str,
    "key_1": str, "limit_2": str, "key_2": str, "snoozes": int,
}  # fmt: skip

# The tables that are copied, in that order; each begins with the columns of its primary key.
COPIED: Mapping[str, Columns] = {
    "schedules": {
        "name": str, "spec": str, "misfire": str, "task": str, "template": str, "overlap": str,
        "next_fire_at": int, "due_at": int, "last_fire_at": int, "last_job_id": int, "paused_at": int, "error": str,
        "created_at": int, "updated_at": int, "runs": str, "skipped": int, "declared_in": str,
        "missing_since": int,
    },
    "jobs": JOBS,
    "attempts": {
        "job_id": int, "claim": int, "attempt": int, "ending": str, "started_at": int, "finished_at": int,
        "server_id": int, "error": str, "traceback": str,
    },
    "logs": {"id": int, "job_id": int, "at": int, "attempt": int, "message": str},
    "occurrences": {
        "schedule": str, "fire_at": int, "outcome": str, "last_fire_at": int, "occurrences": int, "job_id": int,
        "reason": str, "recorded_at": int,
    },
    "unsettled": {"parent_id": int, "reviving": int, "after_id": int},
    "actions": {
        "id": int, "at": int, "actor": str, "verb": str, "subject": str, "search": str, "details": str, "state": str,
        "expected": int, "expected_capped": int, "changed": int, "skipped": int, "reason": str, "error": str,
        "process": str, "run": int, "stands_at": str, "updated_at": int, "finished_at": int,
    },
    "counters": {
        "minute": int, "name": str, "queue": str, "ending": str, "backend": int, "jobs": int, "ran_us": int,
        "waited_us": int, "cpu_us": int,
    },
    "limits": {
        "name": str, "total": int, "per_key": int, "rates": str, "set_total": int, "set_per_key": int,
        "set_by": str, "set_at": int, "updated_at": int,
    },
    "unique_keys": {"unique_key": str, "job_id": int, "until": int},
    "holds": {"kind": str, "name": str, "until": int, "reason": str, "actor": str, "since": int},
}  # fmt: skip
# What belongs to the processes and to the database itself is not copied.
TABLES = (*COPIED, "permits", "servers", "leases", "identity", "copies", "questions")


def _of(table: str, names: Iterable[str]) -> Columns:
    return {name: COPIED[table][name] for name in names}


# Rows that are written and read with some of a table's columns.
ROWS: Mapping[str, Columns] = {
    "new_job": _of("jobs", NewJob._fields),
    "plain_job": _of("jobs", PLAIN),
    "any_job": _of("jobs", (*NewJob._fields, *STARTED)),
    "keyed_job": _of("jobs", (*NewJob._fields, "id")),
    # MySQL puts the key by in a column that a new job has no use for.
    "unkeyed_job": _of("jobs", (name if name != "idempotency_key" else "progress_note" for name in NewJob._fields)),
    "child": _of("jobs", ("id", "state", "trigger", "run_at", "parent_id", "options", "cancel_requested_at")),
    "log_line": _of("logs", ("job_id", "at", "attempt", "message")),
    "schedule": _of("schedules", (name for name in COPIED["schedules"] if name != "due_at")),
    "action": _of("actions", (name for name in COPIED["actions"] if name not in ("id", "run", "stands_at"))),
    "count": _of("counters", (name for name in COPIED["counters"] if name != "backend")),
}

# A job as people see it, in the order of `inspect/rows.py`; of moments that are not shown, whether they are set.
SNAPSHOT = (
    "id", "state", "name", "payload", "code", "queue", "executor", "priority", "tags", "idempotency_key", "parent_id",
    "trigger", "schedule", "created_at", "run_at", "expires_at", "started_at", "finished_at", "delete_at", "attempt",
    "crashes", "cancel_requested_at", "overdue_at", "server_id", "error", "result", "progress", "progress_note",
)  # fmt: skip
ONLY_WHETHER = ("cancel_requested_at", "overdue_at")
# What may be large of it, and what lists have in the place of that.
LARGE = {"payload": "''", "code": "NULL", "result": "NULL"}
