"""Copying a queue: whole rows from one database to another, a page at a time.

A page is read by `page` and written by `store`, table after table, in the order of `TABLES`. The transaction that
writes it moves the copy's record on (`embedq_copies`, in the target), so that a copy that was killed continues
after the last row that was written, and writes none twice.

A `Census` shows that both databases hold the same, and that the source has not been written to meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from embedq.errors import CopyError
from embedq.job import JobState
from embedq.storage.base import Row, Transaction
from embedq.storage.columns import COPIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that is copied.

    Attributes:
        key: its primary key, the first columns of a row.
        exact: the columns whose text identifies a job, queue or schedule, with their positions in a row.
    """

    name: str
    key: tuple[str, ...]
    exact: Mapping[str, int]


# How many columns a key has, if more than one, and which columns are exact.
_KEYS = {"attempts": 2, "occurrences": 2, "counters": 5, "holds": 2}
_EXACT = {
    "jobs": ("queue", "name", "tags", "idempotency_key", "schedule", "needs"),
    "schedules": ("name", "task"),
    "limits": ("name",),
    "holds": ("name",),
    "unique_keys": ("unique_key",),
}


def _table(name: str) -> Table:
    columns = tuple(COPIED[name])
    exact = {column.replace("_", " "): columns.index(column) for column in _EXACT.get(name, ())}
    return Table(name=name, key=columns[: _KEYS.get(name, 1)], exact=exact)


_BY_NAME = {name: _table(name) for name in COPIED}
TABLES = tuple(_BY_NAME.values())
JOBS, SCHEDULES = _BY_NAME["jobs"], _BY_NAME["schedules"]
JOB_STATE = tuple(COPIED["jobs"]).index("state")


def _sums(*columns: str) -> str:
    return ", ".join(f"sum({column} & 4294967295)" for column in columns)


# Sums that change with what happens to rows whose number stays. Several connections of a server may count the same.
# Each number counts by its lower half, so that one that was damaged lets no sum overflow.
_JOBS = f"SELECT state, count(*), {_sums('id', 'claim', 'attempt', 'crashes')} FROM embedq_jobs GROUP BY state"
_REST = {
    "schedules": "SELECT count(*), count(paused_at), max(updated_at), max(next_fire_at) FROM embedq_schedules",
    "attempts": f"SELECT count(*), {_sums('job_id', 'claim')} FROM embedq_attempts",
    "logs": f"SELECT count(*), {_sums('id', 'job_id')} FROM embedq_logs",
    "occurrences": f"SELECT count(*), {_sums('occurrences')}, max(fire_at), max(recorded_at) FROM embedq_occurrences",
    "unsettled": f"SELECT count(*), {_sums('parent_id', 'after_id')} FROM embedq_unsettled",
    "actions": f"SELECT count(*), max(id), max(updated_at), {_sums('run')} FROM embedq_actions",
    "counters": f"SELECT count(*), sum(jobs) FROM (SELECT {_sums('jobs')} AS jobs FROM embedq_counters "
    "GROUP BY minute, name, queue, ending) AS counted",
    "limits": f"SELECT count(*), max(updated_at), {_sums('set_total', 'set_per_key')} FROM embedq_limits",
    "holds": "SELECT count(*), max(since), max(until) FROM embedq_holds",
    "unique_keys": f"SELECT count(*), {_sums('job_id')}, max(until) FROM embedq_unique_keys",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What is in a database, in numbers: for each state of jobs, and each other table, a count and some sums."""

    states: Mapping[str, Sequence[int]]
    rest: Mapping[str, Sequence[int]]

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table, in the order of `TABLES`."""
        counts = {name: numbers[0] for name, numbers in self.rest.items()}
        counts["jobs"] = sum(numbers[0] for numbers in self.states.values())
        return {table.name: counts[table.name] for table in TABLES}

    @property
    def jobs(self) -> dict[JobState, int]:
        """Jobs by state; states that have none are left out."""
        return {state: self.states[state][0] for state in JobState if state in self.states}

    def to_text(self) -> str:
        return json.dumps([self.states, self.rest])

    @classmethod
    def from_text(cls, text: str) -> Census:
        states, rest = json.loads(text)
        return cls(states=states, rest=rest)


class Record(NamedTuple):
    """How far a copy has come: `batches` were written, the last one up to `last_key` of table `stands_at`."""

    source: str
    label: str
    census: str
    stands_at: str | None
    last_key: str | None
    batches: int
    replaced: int


def identity(tx: Transaction) -> str:
    """The name of the database, the same however it is reached."""
    row = tx.one("database_identity")
    assert row is not None, "the migration that made the table filled it"
    return str(row[0])


def census(tx: Transaction) -> Census:
    """What is in the database. Reads every row, and so takes its time."""
    return Census(
        states={state: _whole(numbers) for state, *numbers in tx.select(_JOBS)},
        rest={name: _whole(tx.select(sql)[0]) for name, sql in _REST.items()},
    )


def _whole(numbers: Sequence[Any]) -> list[int]:
    # Sums are decimals on the servers, and NULL where there is nothing.
    return [int(number or 0) for number in numbers]


def highest_numbers(tx: Transaction) -> tuple[int, int, int]:
    """Return the highest number of a job, of a log line, and of a process that any row contains."""
    found = [
        _whole(tx.select(f"SELECT max({column}) FROM embedq_{table}")[0])[0]
        for table, column in (
            ("jobs", "id"), ("logs", "id"), ("servers", "id"), ("jobs", "server_id"), ("attempts", "server_id"),
        )
    ]  # fmt: skip
    return found[0], found[1], max(found[2:])


def signed(tx: Transaction) -> int:
    """Return how many jobs and schedules may still run a signed function, one that is not registered."""
    [(jobs,)] = tx.select("SELECT count(*) FROM embedq_jobs WHERE code IS NOT NULL AND state <> 'succeeded'")
    templates = tx.select("SELECT template FROM embedq_schedules")
    return int(jobs) + sum('"code":null' not in template for (template,) in templates)


def holds_nul(tx: Transaction) -> bool:
    """Return whether the database's texts may contain the character NUL, by storing and reading one."""
    return tx.select("SELECT ?", ("\x00",)) == [("\x00",)]


def page(tx: Transaction, table: Table, *, after: Sequence[Any] | None, limit: int) -> list[Row]:
    """Up to `limit` rows in the order of the key, from the first one behind the key `after`."""
    key = ", ".join(table.key)
    where = ""
    if after is not None:
        # The first column by itself: MySQL finds no place in an index by several at once.
        where = f"WHERE {table.key[0]} >= ? AND ({key}) > ({', '.join('?' * len(after))})"
    return tx.select(
        f"SELECT * FROM ({{copied_{table.name}}}) AS copied {where} ORDER BY {key} LIMIT ?",
        (*([] if after is None else [after[0], *after]), limit),
    )


# -- in the target -----------------------------------------------------------------------------------------------------


def record(tx: Transaction) -> Record | None:
    """The copy into this database that has begun and is not complete."""
    row = tx.one("copy_record")
    return None if row is None else Record._make(row)


def begin(tx: Transaction, *, source: str, label: str, expected: Census, numbers: Sequence[int], now: int) -> Record:
    """Reserve the database for a copy. From now on it gives no number that the copy will bring."""
    raise_numbers(tx, numbers)
    tx.run("begin_copy", (source, label, expected.to_text(), now))
    begun = record(tx)
    assert begun is not None, "it was written in this transaction"
    return begun


def store(tx: Transaction, table: Table, rows: Sequence[Row], *, at: Record, replaced: int) -> Record:
    """Write a page and move the record on; the record as it stands then.

    Raises:
        CopyError: the record is not where this process left it.
    """
    key = json.dumps(rows[-1][: len(table.key)])
    if not tx.run("advance_copy", (table.name, key, replaced, at.source, at.batches)):
        raise CopyError("another process is continuing this copy; let it finish, or stop it and run this again")
    tx.insert_rows(f"copy_{table.name}", rows)
    return at._replace(stands_at=table.name, last_key=key, batches=at.batches + 1, replaced=at.replaced + replaced)


def finish(tx: Transaction, *, expected: Census, numbers: Sequence[int]) -> Census:
    """Count what has arrived; if that is what was expected, the copy is complete and its record goes."""
    found = census(tx)
    if found == expected:
        raise_numbers(tx, numbers)
        tx.run("end_copy")
    return found


def clear(tx: Transaction) -> None:
    """Delete what an unfinished copy has left."""
    for table in TABLES:
        tx.run(f"empty_{table.name}")
    tx.run("end_copy")


def raise_numbers(tx: Transaction, numbers: Sequence[int]) -> None:
    """Let new jobs, log lines and processes get numbers above these."""
    tx.run("raise_numbers", numbers)
    tx.run("drop_number")
