"""Permits: how many more jobs may start under a limit, and the rows that make the count exact.

A permit is a row that runs. So a crash cannot leak one, and a late result cannot free one twice: room is the limit less
the number of running rows. On SQLite a transaction that writes is alone. On the servers a claim locks a row for each
limit with a total or a rate, and for each key of one, in order and without waiting, and counts in a later statement,
which sees all that the row's earlier owners committed. What another process has locked is left for a moment later.

The rows are made in a transaction of their own when they are first met (`create`), so that no process waits for
another's claim, and are deleted when they have not been used for a while (`prune`). They also hold what
rates have spent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from embedq.clock import SECOND
from embedq.flow import rates
from embedq.flow.lanes import Pair
from embedq.flow.limits import LimitValues, StoredRate
from embedq.storage.base import Transaction

# How soon what another process had locked is looked at again.
LOCKED_MICROS = 5_000
# Rows that were not used for this long are deleted.
IDLE_MICROS = 3600 * SECOND


def permit_name(limit: str, key: str | None = None) -> str:
    """Return how a permit's row is called: of a limit, or of a key of it."""
    return json.dumps([limit] if key is None else [limit, key], ensure_ascii=False)


@dataclass(slots=True)
class PermitRow:
    tats: dict[str, int]
    closed_until: int | None


def create(tx: Transaction, names: Sequence[str], *, now: int) -> None:
    """Make the rows of permits that are met for the first time."""
    tx.run("create_permits", (json.dumps(sorted(names), ensure_ascii=False), now))


def prepare(tx: Transaction, missing: Sequence[str], limits: Mapping[str, LimitValues], *, now: int) -> None:
    """Make rows of permits, and store the code's values of limits that a process has met for the first time."""
    if missing:
        create(tx, missing, now=now)
    declare(tx, limits, now=now)


def close(tx: Transaction, limit: str, *, until: int, now: int) -> None:
    """Let nothing start under a limit until a moment."""
    tx.run("close_permit", (permit_name(limit), until, now))


def announce(tx: Transaction) -> None:
    """Wake other processes after the commit: a permit came back that this one does not use."""
    tx.run("lanes_freed")


def prune(tx: Transaction, *, now: int, limit: int = 500) -> int:
    """Delete rows that were not used for a while; return how many. One that is needed again is made again."""
    idle = [name for (name,) in tx.all("idle_permits", (now - IDLE_MICROS, limit))]
    if idle:
        tx.run("delete_permits", (json.dumps(idle, ensure_ascii=False),))
    return len(idle)


def declare(tx: Transaction, limits: Mapping[str, LimitValues], *, now: int) -> None:
    """Store the code's values of limits. Where two builds differ, those of the one that stored last apply."""
    for name, values in sorted(limits.items()):
        tx.run("declare_limit", (name, values.total, values.each, values.rates_text(), now))


def set_values(
    tx: Transaction, name: str, *, total: int | None, each: int | None, actor: str | None = None, now: int
) -> bool:
    """Store values that win over the code's, None to let the code's stand; return whether there is such a limit."""
    by, at = (None, None) if total is None and each is None else (actor, now)
    return tx.run("set_limit", (name, total, each, by, at, now)) > 0


def set_before(tx: Transaction, name: str) -> tuple[int | None, int | None]:
    """Return the total, and that for each key, that were set at run time; None where the code's value stands."""
    for *_, total, each in tx.all("limit_values", (json.dumps([name], ensure_ascii=False),)):
        return total, each
    return None, None


def names(tx: Transaction, *, limit: int) -> list[str]:
    """Return the names of stored limits, so many at most."""
    return [name for (name,) in tx.all("limit_names", (limit,))]


def stored_rows(tx: Transaction, permit_names: Iterable[str]) -> dict[str, PermitRow]:
    """Return what is stored of permits, by their names, locking nothing."""
    found = tx.all("permits", (json.dumps(sorted(permit_names), ensure_ascii=False),))
    return {name: PermitRow(json.loads(tats or "{}"), closed_until) for name, tats, closed_until in found}


def running(tx: Transaction) -> Counter[tuple[str, ...]]:
    """Return how many jobs run under each limit `(name,)`, and each key of one `(name, key)`, of all processes."""
    found: Counter[tuple[str, ...]] = Counter()
    for limit_1, key_1, limit_2, key_2, number in tx.all("running_permits"):
        for limit, key in pairs_of(limit_1, key_1, limit_2, key_2):
            found[limit,] += number
            found[limit, key] += number
    return found


def stored_values(tx: Transaction, names: Iterable[str]) -> dict[str, LimitValues]:
    """Return the values of limits that are stored."""
    rows = tx.all("limit_values", (json.dumps(sorted(names), ensure_ascii=False),))
    return {name: LimitValues.stored(*values) for name, *values in rows}


@dataclass
class Permits:
    """What one claim may start, and has granted.

    Attributes:
        declared: the code's values, for limits that are not stored yet.
        missing: rows that must be made first.
        look_at: when to look again, in microseconds; None for only when something changes.
    """

    tx: Transaction
    declared: Mapping[str, LimitValues]
    now: int
    missing: set[str] = field(default_factory=set)
    look_at: int | None = None
    _values: dict[str, LimitValues] = field(default_factory=dict)
    _rows: dict[str, PermitRow] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _locked: set[str] = field(default_factory=set)
    _running: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _taken: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _spent: set[str] = field(default_factory=set)

    @property
    def met(self) -> frozenset[str]:
        """The limits that were met, and are known."""
        return frozenset(self._values)

    def learn(self, pairs: Iterable[Pair]) -> None:
        """Read what is known of these limits, locking nothing."""
        pairs = set(pairs)
        names = {limit for limit, _ in pairs} - self._values.keys()
        if names:
            found = stored_values(self.tx, names)
            self._values |= {name: self.declared[name] for name in names & self.declared.keys()} | found
        wanted = {permit_name(limit) for limit, _ in pairs} | self._needed(pairs)
        unread = wanted - self._known
        if unread:
            self._read("permits", unread)
            self._known |= unread
            self._count()

    def lock(self, pairs: Iterable[Pair]) -> None:
        """Lock what these limits are counted under, and count again."""
        wanted = self._needed(set(pairs)) - self._locked
        self.missing |= wanted - self._rows.keys()
        wanted &= self._rows.keys()
        if not wanted:
            return
        got = self._read("lock_permits", wanted)
        if got != wanted:
            self.look_again(self.now + LOCKED_MICROS)
        self._locked |= got
        self._count()

    def may_lock(self, pairs: Sequence[Pair]) -> bool:
        """Return whether these limits are known, and all that they are counted under is locked here."""
        if any(limit not in self._values for limit, _ in pairs):
            return False
        return self._needed(set(pairs)) <= self._locked

    def room(self, pairs: Sequence[Pair], most: int) -> int:
        """Return how many more jobs may start under all of these limits, `most` at most."""
        for limit, key in pairs:
            values = self._values.get(limit)
            if values is None:
                # No process that knows the limit has started yet.
                return 0
            if values.total is not None:
                most = min(most, values.total - self._in_use((limit,)))
            if values.each is not None and key:
                most = min(most, values.each - self._in_use((limit, key)))
            if most > 0:
                # Only then: where all permits are taken, there is no moment to look again at.
                most = self._rated(limit, key, values, most)
            if most <= 0:
                return 0
        return most

    def take(self, pairs: Sequence[Pair], starts: int) -> None:
        """Record starts that the claim makes; less than 0 for some that it does not make after all."""
        for limit, key in pairs:
            self._taken[limit,] += starts
            self._taken[limit, key] += starts
            for row_name, rate in self._rates_of(limit, key, self._values[limit]):
                row = self._rows.setdefault(row_name, PermitRow({}, None))
                row.tats[rate.label] = rates.spent(
                    row.tats.get(rate.label, 0), self.now, starts, interval=rate.interval
                )
                self._spent.add(row_name)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Undo at the end what is taken within."""
        taken, spent = Counter(self._taken), set(self._spent)
        rows = {name: PermitRow(dict(row.tats), row.closed_until) for name, row in self._rows.items()}
        yield
        self._taken, self._spent, self._rows = taken, spent, rows

    def spend(self) -> None:
        """Write what the rates have spent. It rolls back with the claim."""
        for name in sorted(self._spent):
            spent = self._rows[name].tats
            # In use for as long as it has something to remember: the next start may be a day away.
            used_at = max(self.now, *spent.values())
            self.tx.run("spend_permit", (json.dumps(spent, separators=(",", ":")), used_at, name))

    def look_again(self, at: int) -> None:
        """Look again at that moment, or earlier."""
        self.look_at = at if self.look_at is None else min(self.look_at, at)

    def _needed(self, pairs: set[Pair]) -> set[str]:
        """Return the rows to lock before starting a job under these limits."""
        needed = set()
        for limit, key in pairs:
            values = self._values.get(limit)
            if values is None:
                continue
            if values.total is not None or any(not (rate.keyed and key) for rate in values.rates):
                needed.add(permit_name(limit))
            if key and (values.each is not None or any(rate.keyed for rate in values.rates)):
                needed.add(permit_name(limit, key))
        return needed

    def _read(self, statement: str, names: set[str]) -> set[str]:
        found = self.tx.all(statement, (json.dumps(sorted(names), ensure_ascii=False),))
        for name, tats, closed_until in found:
            self._rows[name] = PermitRow(json.loads(tats or "{}"), closed_until)
        return {name for name, *_ in found}

    def _count(self) -> None:
        self._running = running(self.tx)

    def _in_use(self, what: tuple[str, ...]) -> int:
        return self._running[what] + self._taken[what]

    def _rated(self, limit: str, key: str, values: LimitValues, most: int) -> int:
        shut = self._rows.get(permit_name(limit))
        if shut is not None and shut.closed_until is not None and shut.closed_until > self.now:
            self.look_again(shut.closed_until)
            return 0
        for name, rate in self._rates_of(limit, key, values):
            row = self._rows.get(name)
            tat = 0 if row is None else row.tats.get(rate.label, 0)
            most = rates.grantable(tat, self.now, interval=rate.interval, burst=rate.burst, most=most)
            if most <= 0:
                self.look_again(rates.next_at(tat, interval=rate.interval, burst=rate.burst))
                return 0
        return most

    def _rates_of(self, limit: str, key: str, values: LimitValues) -> list[tuple[str, StoredRate]]:
        return [(permit_name(limit, key if rate.keyed and key else None), rate) for rate in values.rates]


def pairs_of(limit_1: str | None, key_1: str | None, limit_2: str | None, key_2: str | None) -> tuple[Pair, ...]:
    """Return the limits that a row names."""
    named = ((limit_1, key_1), (limit_2, key_2))
    return tuple((limit, key or "") for limit, key in named if limit is not None)
