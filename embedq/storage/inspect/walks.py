"""The orders in which jobs can be walked through without reading those that are not asked for.

id      all of them, the newest first
end     one ended state, what ended last first
due     scheduled and retrying, what is due next first
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from embedq.clock import to_micros
from embedq.job import ENDED, Job, JobState
from embedq.storage.base import Transaction
from embedq.storage.inspect.filters import Conditions, Search
from embedq.storage.inspect.rows import job_from_row

# Above every id and instant that a database holds.
ABOVE = (1 << 63) - 1
DUE = frozenset({JobState.SCHEDULED, JobState.RETRYING})


class Place(NamedTuple):
    """A place in a walk: beside the row of that key and id, on its far side."""

    key: int
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One way through the jobs.

    Attributes:
        key: the column that orders them; the id orders those that share it.
        source: the table by its index, with the walk's own condition.
        descending: whether it begins at the greatest key.
        sparse: many rows of its index may be none of it.
    """

    name: str
    key: str
    source: str
    params: tuple[Any, ...] = ()
    descending: bool = True
    sparse: bool = False

    def place(self, job: Job) -> Place:
        """Where a job stands in it."""
        if self.name == "end":
            assert job.finished_at is not None, "an ended job has the moment of its end"
            return Place(to_micros(job.finished_at), job.id)
        return Place(to_micros(job.run_at) if self.name == "due" else job.id, job.id)

    def rows(
        self,
        tx: Transaction,
        wanted: Conditions,
        *,
        behind: Place | None,
        until: int | None,
        backwards: bool = False,
        limit: int,
    ) -> list[Job]:
        """Up to `limit` jobs behind a place, and up to a key, in order."""
        where, params = self._part(behind, until, backwards)
        down = "DESC" if self.descending is not backwards else "ASC"
        sql = (
            f"SELECT {{job_columns}} FROM {self.source} {_and((*where, *wanted.where))} "
            f"ORDER BY {self.key} {down}{'' if self.key == 'id' else f', id {down}'} LIMIT ?"
        )
        return [job_from_row(row) for row in tx.select(sql, (*self.params, *params, *wanted.params, limit))]

    def count(self, tx: Transaction, wanted: Conditions, *, until: int | None, cap: int) -> int:
        """How many there are from the beginning up to a key, up to `cap`."""
        where, params = self._part(None, until, False)
        inner = f"SELECT 1 FROM {self.source} {_and((*where, *wanted.where))} LIMIT ?"
        [(found,)] = tx.select(f"SELECT count(*) FROM ({inner}) AS found", (*self.params, *params, *wanted.params, cap))
        return int(found)

    def bound(self, tx: Transaction, *, behind: Place | None, backwards: bool, candidates: int) -> int | None:
        """The key up to which `candidates` rows, or a few more, stand behind a place; None when there are not so many.

        Costs a look at as many entries of an index.
        """
        where, params = self._part(behind, None, backwards)
        down = "DESC" if self.descending is not backwards else "ASC"
        inside = f"FROM {self.source} {_and(where)} ORDER BY {self.key} {down} LIMIT 1 OFFSET {candidates}"
        rows = tx.select(f"SELECT {self.key} {inside}", (*self.params, *params))
        return int(rows[0][0]) if rows else None

    def _part(self, behind: Place | None, until: int | None, backwards: bool) -> tuple[list[str], list[Any]]:
        less = self.descending is not backwards
        where, params = [], []
        if behind is not None:
            sign = "<" if less else ">"
            if self.key == "id":
                where.append(f"id {sign} ?")
                params.append(behind.id)
            else:
                where.append(f"{self.key} {sign}= ? AND ({self.key} {sign} ? OR id {sign} ?)")
                params += [behind.key, behind.key, behind.id]
        if until is not None:
            where.append(f"{self.key} {'>=' if less else '<='} ?")
            params.append(until)
        return where, params


def _and(where: list[str] | tuple[str, ...]) -> str:
    # Every source ends in a condition.
    return "".join(f" AND {condition}" for condition in where)


BY_ID = Walk(name="id", key="id", source="{all_jobs}")


def walk_for(search: Search) -> Walk:
    """The order in which the jobs of a search come."""
    if len(search.states) == 1 and search.states[0] in ENDED:
        return Walk(name="end", key="finished_at", source="{ended_jobs}", params=(search.states[0],))
    if search.states and DUE.issuperset(search.states):
        sparse = len(set(search.states)) == 1
        return Walk(name="due", key="{due_key}", source="{due_jobs}", descending=False, sparse=sparse)
    return BY_ID
