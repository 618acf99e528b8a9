"""What a place and a site are, whatever the database."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import embedq
from benchmarks.limits import HandOff, PlainTable, Way
from benchmarks.report import Mark

COPY_BATCH = 50_000


class Place(ABC):
    """A database with embedq's tables, once an app has connected, and a plain one beside them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def app(self, durability: str, **settings: Any) -> embedq.EmbedQ:
        """An app on it, not yet connected."""
        # Functions that are not registered are signed, and only a SQLite file has a place for a key.
        key = "no secret: this signs the jobs of a benchmark"
        return embedq.EmbedQ(self.url, durability=durability, secret_key=key, sigterm=False, **settings)

    @abstractmethod
    def plain(self, durability: str) -> PlainTable:
        """The plain table, on a new connection."""

    def hand_off(self, durability: str) -> Way:
        """The bare way of a job to a worker thread."""
        return HandOff(self.plain(durability))

    @abstractmethod
    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction of its own, past embedq; its rows. Always from the same thread."""

    def connections(self) -> int:
        """How many connections embedq has to it, in all processes."""
        raise NotImplementedError("only servers count connections")

    @abstractmethod
    def withhold_statistics(self) -> None:
        """From now on the planner knows of embedq's jobs what it knows of an empty table."""

    @abstractmethod
    def gather_statistics(self) -> None:
        """Let the planner know what is there."""

    def keep_up(self) -> None:
        """Do at once what the server does by itself within minutes of such a load."""
        self.gather_statistics()

    @abstractmethod
    def columns(self) -> list[str]:
        """The columns of embedq's jobs that can be written."""

    @abstractmethod
    def numbers(self, count: int) -> str:
        """A table of so many rows, as SQL; at most `COPY_BATCH`."""

    def copy(self, job_id: int, times: int) -> None:
        """Copy a job's row, whatever its columns are, in transactions of `COPY_BATCH`."""
        columns = ", ".join(name for name in self.columns() if name != "id")
        for at in range(0, times, COPY_BATCH):
            self.ask(
                f"INSERT INTO embedq_jobs ({columns}) SELECT {columns} FROM "
                f"(SELECT * FROM embedq_jobs WHERE id = {job_id}) AS job, {self.numbers(min(COPY_BATCH, times - at))}"
            )

    @abstractmethod
    def close(self) -> None:
        """Close the connection that asks."""


class Site(ABC):
    """Makes fresh places, and removes them.

    Attributes:
        kind: "sqlite", "postgresql" or "mysql".
        marks: what a figure should reach here, by its name; many have none.
        about: the database and what of its settings matters, for people.
        places: those that there are now.
        filesystem_of: a folder on the file system where the data is; None when that is the server's to know.
    """

    kind: str
    marks: Mapping[str, Mark]
    about: str
    filesystem_of: Path | None = None

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.places: list[Place] = []

    def fresh(self) -> Place:
        """A new, empty place."""
        place = self._make(next(self._numbers))
        self.places.append(place)
        return place

    def clear(self) -> None:
        """Remove every place; no connection is open any more."""
        places, self.places = self.places, []
        for place in places:
            place.close()
            self._remove(place)

    @abstractmethod
    def _make(self, number: int) -> Place: ...

    @abstractmethod
    def _remove(self, place: Place) -> None: ...

    def close(self) -> None:
        """Clear, and leave."""
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
