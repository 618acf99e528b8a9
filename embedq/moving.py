"""Moving house: everything in one database into another that is empty.

    move = Move(source, target)         # two apps, connected and not started
    move.prepare()                      # refuses what cannot go well; rescues what dead processes held
    move.run(progress=lambda rows: None)
    move.verify()

Killed at any point, the same steps go on where it was: the target has the copy's record. Nobody may write to the source
meanwhile. Workers are seen and refused; of what only enqueues there is no trace, so the source is counted before and
after, and a copy of which something may be missing is not called complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from embedq.app import EmbedQ
from embedq.errors import ConfigurationError, CopyError, StorageRefusedError
from embedq.job import ENDED
from embedq.liveness import host_identity
from embedq.maintenance import membership
from embedq.storage import copying, servers
from embedq.storage.base import Row
from embedq.storage.copying import JOB_STATE, JOBS, SCHEDULES, TABLES, Census, Record, Table
from embedq.storage.servers import ServerRow

FIRST_PAGE, LARGEST_PAGE = 100, 1000
# A page of long rows has fewer of them: it is in memory several times over, and one transaction.
PAGE_CHARACTERS = 4_000_000
SHOWN = 5


class Move:
    """One copy, from the refusals to the last count.

    Attributes:
        expected: what is in the source.
        left: how many rows are still to be copied (counters of several connections may count as several).
        resumed: an earlier try had begun.
        complete: there is nothing to do: an earlier try had finished.
        rescued: jobs that dead processes had been running, and that went back to the queue first.
        replaced: rows in which the target's texts have `�` for a NUL character.
        signed: jobs and schedules with a function that is not registered.
    """

    expected: Census
    _record: Record

    def __init__(self, source: EmbedQ, target: EmbedQ) -> None:
        self.source, self.target = source, target
        self._from, self._to = source.database, target.database
        self.left = self.rescued = self.signed = 0
        self.resumed = self.complete = False

    @property
    def replaced(self) -> int:
        return 0 if self.complete else self._record.replaced

    # -- before --------------------------------------------------------------------------------------------------------

    def prepare(self, *, anew: bool = False) -> None:
        """See that the copy can go well, and find where it stands.

        Args:
            anew: delete what an unfinished copy has left in the target.
        Raises:
            CopyError: it cannot, as things stand; the message says what to do.
            ConfigurationError: both are the same database.
        """
        source = self._from.read(copying.identity)
        if source == self._to.read(copying.identity):
            raise ConfigurationError(
                f"{self._from.url} and {self._to.url} are the same database, or one is a copy of the other's file; "
                "name a new one as the target"
            )
        self._refuse_workers()
        self.rescued = self._rescue()
        self.expected = self._from.read(copying.census)
        self._numbers = self._from.read(copying.highest_numbers)
        self.signed = self._from.read(copying.signed)
        # What the target cannot hold, the source may have.
        self._has_nul = self._from.read(copying.holds_nul) and not self._to.read(copying.holds_nul)
        record = self._to.read(copying.record)
        if anew:
            self._require_unfinished(record)
            self._to.write(copying.clear)
            record = None
        found = self._to.read(copying.census)
        if record is None and found == self.expected:
            self.complete = True
            return
        self.left = sum(self.expected.rows.values()) - sum(found.rows.values())
        if record is None:
            self._record = self._begin(source, found)
        else:
            self._record, self.resumed = self._resumable(record, source), True

    def _refuse_workers(self) -> None:
        for app, role in ((self.source, "source"), (self.target, "target")):
            alive = [row for row in _servers(app) if not _is_gone(app, row)]
            if alive:
                named = ", ".join(f"process {row.pid} on {row.hostname}" for row in alive[:SHOWN])
                raise CopyError(
                    f"jobs are being run from the {role} {app.database.url}, by {named}"
                    f"{' and others' if len(alive) > SHOWN else ''}: stop every process that uses it, and run this "
                    "again. (One that died on another host counts as alive until its lease is over.)"
                )

    def _rescue(self) -> int:
        """Give back what dead processes held in the source, as the next start would; how many jobs."""
        app, settings = self.source, self.source.settings
        outcomes = [
            outcome
            for row in _servers(app)
            for outcome in membership.rescue(
                self._from,
                row,
                folder=app.database.folder / "servers",
                host=_host(app),
                settings=settings,
                now=app.clock.now(),
            )
        ]
        orphans = self._from.write(servers.rescue_orphans, now=app.clock.now(), retention=settings.retention, grace=0)
        return len(outcomes) + orphans

    def _require_unfinished(self, record: Record | None) -> None:
        if record is None:
            raise CopyError(
                f"there is no unfinished copy in {self._to.url}, and --anew deletes nothing else; run it without"
            )

    def _begin(self, source: str, found: Census) -> Record:
        full = [f"{count:,} {name}" for name, count in found.rows.items() if count]
        if full:
            raise CopyError(
                f"{self._to.url} is in use already, with {', '.join(full)}; a copy needs a database that has none: "
                "another file, schema or database"
            )
        if self._has_nul:
            self._refuse_names()
        return self._to.write(
            copying.begin,
            source=source,
            label=self._from.url,
            expected=self.expected,
            numbers=self._numbers,
            now=self.target.clock.now(),
        )

    def _resumable(self, record: Record, source: str) -> Record:
        if record.source != source:
            raise CopyError(
                f"{self._to.url} has an unfinished copy of another database, {record.label}: go on with that one, "
                "choose another target, or delete what it left with --anew"
            )
        if Census.from_text(record.census) != self.expected:
            raise CopyError(
                f"{self._from.url} has been written to since its copy was begun, so that a part of it in "
                f"{self._to.url} is out of date; --anew deletes that and begins again"
            )
        return record

    def _refuse_names(self) -> None:
        """A queue or a key must not become another one. In what has ended it may: nobody will look for it."""
        bad = []
        for table in (SCHEDULES, JOBS):
            for rows in self._pages(table, after=None):
                for row in rows:
                    if table is JOBS and row[JOB_STATE] in ENDED:
                        continue
                    bad += [
                        f"{table.name[:-1]} {row[0]!r} ({column})"
                        for column, place in table.exact.items()
                        if row[place] is not None and "\x00" in row[place]
                    ]
        if bad:
            raise CopyError(
                f"{self._to.url} cannot store a NUL character, and these have one in a name: {', '.join(bad[:SHOWN])}"
                f"{f' and {len(bad) - SHOWN:,} more' if len(bad) > SHOWN else ''}. Let these jobs run first, or cancel "
                "them (embedq cancel); remove such schedules and add them under other names"
            )

    # -- the rows ------------------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[int], object] = lambda rows: None) -> None:
        """Copy what is left; `progress` is told the number of rows of each page.

        Raises:
            CopyError: the target refuses a row, or another process copies too.
        """
        names = [table.name for table in TABLES]
        begun = self._record.stands_at
        for table in TABLES[0 if begun is None else names.index(begun) :]:
            after = json.loads(self._record.last_key or "null") if table.name == begun else None
            for rows in self._pages(table, after=after):
                self._store(table, rows)
                progress(len(rows))

    def _pages(self, table: Table, *, after: Sequence[Any] | None) -> Iterator[list[Row]]:
        limit = FIRST_PAGE
        while rows := self._from.read(copying.page, table, after=after, limit=limit):
            yield rows
            after = rows[-1][: len(table.key)]
            characters = sum(len(value) for row in rows for value in row if isinstance(value, str))
            limit = max(1, min(2 * limit, LARGEST_PAGE, len(rows) * PAGE_CHARACTERS // max(1, characters)))

    def _store(self, table: Table, rows: Sequence[Row]) -> None:
        fitting = [self._fitting(row) for row in rows] if self._has_nul else rows
        replaced = sum(old is not new for old, new in zip(rows, fitting, strict=True))
        try:
            self._record = self._to.write(copying.store, table, fitting, at=self._record, replaced=replaced)
        except StorageRefusedError as error:
            if len(rows) == 1:
                key = ", ".join(repr(value) for value in rows[0][: len(table.key)])
                raise CopyError(f"{table.name} {key} cannot be written to {self._to.url}. {error}") from error
            # The rows before the one at fault are as good as any, and it can be named.
            middle = len(rows) // 2
            self._store(table, rows[:middle])
            self._store(table, rows[middle:])

    def _fitting(self, row: Row) -> Row:
        if not any(isinstance(value, str) and "\x00" in value for value in row):
            return row
        return tuple(value.replace("\x00", "\ufffd") if isinstance(value, str) else value for value in row)

    # -- after ---------------------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Count both sides; the copy is complete when this returns.

        Raises:
            CopyError: somebody has used the source or the target meanwhile, so that they differ.
        """
        self._refuse_workers()
        if self._from.read(copying.census) != self.expected:
            raise CopyError(
                f"{self._from.url} was written to while it was copied: some process still enqueues there. Stop it, and "
                "run this again with --anew"
            )
        found = self._to.write(copying.finish, expected=self.expected, numbers=self._numbers)
        if found != self.expected:
            differing = ", ".join(
                f"{found.rows[name]:,} {name} instead of {count:,}"
                for name, count in self.expected.rows.items()
                if found.rows[name] != count
            )
            raise CopyError(
                f"{self._to.url} does not have what {self._from.url} has: {differing or 'jobs are in other states'}. "
                "Some process uses it already; stop it, and run this again with --anew"
            )


def _servers(app: EmbedQ) -> list[ServerRow]:
    # No process has the number 0.
    return app.database.read(servers.others, 0)


def _host(app: EmbedQ) -> str:
    folder = app.database.folder / "servers"
    return host_identity(folder) if folder.exists() else ""


def _is_gone(app: EmbedQ, row: ServerRow) -> bool:
    return membership.is_gone(
        row,
        folder=app.database.folder / "servers",
        host=_host(app),
        lease=app.settings.lease,
        now=app.clock.now(),
    )
