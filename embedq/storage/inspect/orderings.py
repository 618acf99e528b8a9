"""The orders in which jobs can be read without reading jobs outside the search.

id      all of them, the newest first
end     one ended state, what ended last first
due     scheduled and retrying, what is due next first
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from embedq.clock import to_micros
from embedq.errors import ConfigurationError
from embedq.job import ENDED, Job, JobState
from embedq.storage.base import Row, Transaction
from embedq.storage.inspect.filters import Conditions, Search

# Above every id and instant that a database holds.
ABOVE = (1 << 63) - 1
DUE = frozenset({JobState.SCHEDULED, JobState.RETRYING})


class Cursor(NamedTuple):
    """A position in an ordering: just after the row of that key and id."""

    key: int
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """One order of the jobs.

    Attributes:
        key: the column that orders them; the id orders those that share it.
        source: the table by its index, with the ordering's own condition.
        descending: whether it begins at the greatest key.
        sparse: many rows of its index may not belong to it.
    """

    name: str
    key: str
    source: str
    params: tuple[Any, ...] = ()
    descending: bool = True
    sparse: bool = False

    def cursor_of(self, job: Job) -> Cursor:
        """Return the position of a job."""
        if self.name == "end":
            # An ended job has the moment of its end, unless its row is damaged.
            return Cursor(0 if job.finished_at is None else to_micros(job.finished_at), job.id)
        return Cursor(to_micros(job.run_at) if self.name == "due" else job.id, job.id)

    def rows(
        self,
        tx: Transaction,
        conditions: Conditions,
        columns: str,
        *,
        behind: Cursor | None,
        until: int | None,
        backwards: bool = False,
        limit: int,
    ) -> list[Row]:
        """Return columns of up to `limit` jobs after a cursor, and up to a key, in order."""
        where, params = self._part(behind, until, backwards)
        down = "DESC" if self.descending is not backwards else "ASC"
        sql = (
            f"SELECT {columns} FROM {self.source} {_and((*where, *conditions.where))} "
            f"ORDER BY {self.key} {down}{'' if self.key == 'id' else f', id {down}'} LIMIT ?"
        )
        return tx.select(sql, (*self.params, *params, *conditions.params, limit))

    def count(self, tx: Transaction, conditions: Conditions, *, until: int | None, cap: int) -> int:
        """Count the jobs from the beginning up to a key, up to `cap`."""
        where, params = self._part(None, until, False)
        inner = f"SELECT 1 FROM {self.source} {_and((*where, *conditions.where))} LIMIT ?"
        [(found,)] = tx.select(
            f"SELECT count(*) FROM ({inner}) AS found", (*self.params, *params, *conditions.params, cap)
        )
        return int(found)

    def bound(self, tx: Transaction, *, behind: Cursor | None, backwards: bool, candidates: int) -> int | None:
        """Return the key up to which there are `candidates` rows after a cursor; None when there are fewer.

        This reads as many entries of an index.
        """
        where, params = self._part(behind, None, backwards)
        down = "DESC" if self.descending is not backwards else "ASC"
        inside = f"FROM {self.source} {_and(where)} ORDER BY {self.key} {down} LIMIT 1 OFFSET {candidates}"
        rows = tx.select(f"SELECT {self.key} {inside}", (*self.params, *params))
        return int(rows[0][0]) if rows else None

    def encode(self, direction: str, cursor: Cursor | None) -> str | None:
        """Return a cursor as text for a page's `next` or `previous`; None for None."""
        return None if cursor is None else f"{self.name}.{direction}.{cursor.key}.{cursor.id}"

    def decode(self, text: str | None) -> tuple[bool, Cursor | None]:
        """Return whether to read backwards, and from where.

        Raises:
            ConfigurationError: no page in this order has given that text.
        """
        if text is None:
            return False, None
        try:
            name, direction, key, job_id = text.split(".")
            cursor = Cursor(int(key), int(job_id))
            in_range = all(-ABOVE - 1 <= number <= ABOVE for number in cursor)
            if name == self.name and direction in ("next", "previous") and in_range:
                return direction == "previous", cursor
        except ValueError:
            pass
        raise ConfigurationError(
            f"cursor={text[:100]!r} does not belong to this search; pass `next` or `previous` of one of its pages "
            "unchanged"
        )

    def _part(self, behind: Cursor | None, until: int | None, backwards: bool) -> tuple[list[str], list[Any]]:
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


BY_ID = Ordering(name="id", key="id", source="{all_jobs}")


def ordering_for(search: Search) -> Ordering:
    """Return the order in which the jobs of a search are read."""
    if len(search.states) == 1 and search.states[0] in ENDED:
        return Ordering(name="end", key="finished_at", source="{ended_jobs}", params=(search.states[0],))
    if search.states and DUE.issuperset(search.states):
        sparse = len(set(search.states)) == 1
        return Ordering(name="due", key="{due_key}", source="{due_jobs}", descending=False, sparse=sparse)
    return BY_ID
