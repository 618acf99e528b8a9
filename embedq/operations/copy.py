"""Copy a queue to another database, which must be empty.

    copy = DatabaseCopy(source, target)     # the engines of two apps, connected and not started
    copy.prepare()                          # checks the preconditions; rescues the jobs of dead processes
    copy.run(progress=lambda rows: None)
    copy.verify()

A copy that was interrupted resumes with the same steps, since the target stores its progress. No process may write to
the source in the meantime. Running workers are detected and prevent the copy. Processes that only enqueue leave no
trace; therefore the rows of the source are counted before and after, and the copy fails if the counts differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from embedq.engine.lifecycle import Engine
from embedq.errors import ConfigurationError, CopyError, StorageRefusedError
from embedq.job import ENDED
from embedq.maintenance import membership
from embedq.maintenance.live_processes import live_processes
from embedq.process.liveness import host_identity
from embedq.storage import copying, servers
from embedq.storage.base import Row
from embedq.storage.copying import JOB_STATE, JOBS, SCHEDULES, TABLES, Census, Record, Table
from embedq.storage.servers import ServerRow

FIRST_PAGE, LARGEST_PAGE = 16, 1000
# Limits a page of long rows: it is in memory several times, and written in one transaction.
PAGE_CHARACTERS = 4_000_000
SHOWN = 5


class DatabaseCopy:
    """One copy, from the checks to the verification.

    Args:
        watching: called with processes of other hosts; whether they are alive is only known after `lease` seconds.
    Attributes:
        expected: the counts of the source.
        left: how many rows remain to be copied (counters of several connections may count as several).
        resumed: the copy continues an earlier one.
        complete: an earlier copy has already finished; there is nothing to do.
        rescued: jobs of dead processes that were returned to the queue first.
        replaced: rows in which a NUL character was replaced by `�` in the target.
        signed: jobs and schedules whose function is not registered, and therefore signed.
    """

    expected: Census
    _record: Record

    def __init__(
        self, source: Engine, target: Engine, *, watching: Callable[[list[ServerRow]], None] = lambda rows: None
    ) -> None:
        self.source, self.target = source, target
        self._watching = watching
        self._from, self._to = source.database, target.database
        self.left = self.rescued = self.signed = 0
        self.resumed = self.complete = False

    @property
    def replaced(self) -> int:
        return 0 if self.complete else self._record.replaced

    # -- before --------------------------------------------------------------------------------------------------------

    def prepare(self, *, restart: bool = False) -> None:
        """Check that the copy can succeed, and find where it continues.

        Args:
            restart: delete what an unfinished copy has left in the target.
        Raises:
            CopyError: the copy is not possible now; the message states what to do.
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
        # The source may have NUL characters that the target cannot store.
        self._has_nul = self._from.read(copying.holds_nul) and not self._to.read(copying.holds_nul)
        record = self._to.read(copying.record)
        if restart:
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
        for engine, role in ((self.source, "source"), (self.target, "target")):
            alive = live_processes(
                engine.database,
                clock=engine.clock,
                lease=engine.settings.lease,
                folder=engine.database.folder / "servers",
                host=_host(engine),
                waiting=self._watching,
            )
            if alive:
                named = ", ".join(f"process {row.pid} on {row.hostname}" for row in alive[:SHOWN])
                raise CopyError(
                    f"processes run jobs from the {role} {engine.database.url}: {named}"
                    f"{' and others' if len(alive) > SHOWN else ''}; stop every process that uses it, and run this "
                    "again"
                )

    def _rescue(self) -> int:
        """Return the jobs of dead processes in the source to the queue, as the next start would; and their number."""
        engine, settings = self.source, self.source.settings
        outcomes = [
            outcome
            for row in _servers(engine)
            for outcome in membership.rescue(
                self._from,
                row,
                folder=engine.database.folder / "servers",
                host=_host(engine),
                settings=settings,
                now=engine.clock.now(),
            )
        ]
        orphans = self._from.write(
            servers.rescue_orphans, now=engine.clock.now(), retention=settings.retention, grace=0
        )
        return len(outcomes) + orphans

    def _require_unfinished(self, record: Record | None) -> None:
        if record is None:
            raise CopyError(
                f"there is no unfinished copy in {self._to.url}, and --anew deletes nothing else; run this without it"
            )

    def _begin(self, source: str, found: Census) -> Record:
        full = [f"{count:,} {name}" for name, count in found.rows.items() if count]
        if full:
            raise CopyError(
                f"{self._to.url} is already in use, with {', '.join(full)}; a copy requires an empty database: "
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
                f"{self._to.url} has an unfinished copy of another database, {record.label}: resume that copy, "
                "choose another target, or delete its rows with --anew"
            )
        if Census.from_text(record.census) != self.expected:
            raise CopyError(
                f"{self._from.url} has been written to since the copy was started, so that the rows in "
                f"{self._to.url} are out of date; --anew deletes them and starts again"
            )
        return record

    def _refuse_names(self) -> None:
        """Raise CopyError if a queue, key or name would change. In ended jobs it may: they are not looked up by it."""
        names = []
        for table in (SCHEDULES, JOBS):
            for rows in self._pages(table, after=None):
                for row in rows:
                    if table is JOBS and row[JOB_STATE] in ENDED:
                        continue
                    names += [
                        f"{table.name[:-1]} {row[0]!r} ({column})"
                        for column, index in table.exact.items()
                        if row[index] is not None and "\x00" in row[index]
                    ]
        if names:
            raise CopyError(
                f"{self._to.url} cannot store NUL characters, and these have one in a name: {', '.join(names[:SHOWN])}"
                f"{f' and {len(names) - SHOWN:,} more' if len(names) > SHOWN else ''}. Let these jobs run first, or "
                "cancel them (embedq cancel); remove such schedules and add them under other names"
            )

    # -- the rows ------------------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[int], object] = lambda rows: None) -> None:
        """Copy the remaining rows; `progress` is called with the number of rows of each page.

        Raises:
            CopyError: the target rejects a row, or another process copies at the same time.
        """
        names = [table.name for table in TABLES]
        current = self._record.stands_at
        for table in TABLES[0 if current is None else names.index(current) :]:
            after = json.loads(self._record.last_key or "null") if table.name == current else None
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
        stored = [_without_nul(row) for row in rows] if self._has_nul else rows
        replaced = sum(old is not new for old, new in zip(rows, stored, strict=True))
        try:
            self._record = self._to.write(copying.store, table, stored, at=self._record, replaced=replaced)
        except StorageRefusedError as error:
            if len(rows) == 1:
                key = ", ".join(repr(value) for value in rows[0][: len(table.key)])
                raise CopyError(f"{table.name} {key} cannot be written to {self._to.url}. {error}") from error
            # Bisect: store the other rows, and name the row that is rejected.
            middle = len(rows) // 2
            self._store(table, rows[:middle])
            self._store(table, rows[middle:])

    # -- after ---------------------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Count the rows of both databases; the copy is complete when this returns.

        Raises:
            CopyError: the databases differ, since a process has used one of them in the meantime.
        """
        self._refuse_workers()
        if self._from.read(copying.census) != self.expected:
            raise CopyError(
                f"{self._from.url} was written to during the copy: a process still enqueues there. Stop it, and "
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
                f"{self._to.url} differs from {self._from.url}: {differing or 'jobs are in other states'}. "
                "A process already uses it; stop it, and run this again with --anew"
            )


def _without_nul(row: Row) -> Row:
    if not any(isinstance(value, str) and "\x00" in value for value in row):
        return row
    return tuple(value.replace("\x00", "\ufffd") if isinstance(value, str) else value for value in row)


def _servers(engine: Engine) -> list[ServerRow]:
    # All of them: no process has the number 0.
    return engine.database.read(servers.others, 0)


def _host(engine: Engine) -> str:
    folder = engine.database.folder / "servers"
    return host_identity(folder) if folder.exists() else ""
