"""Clocks: due times and leases depend on them."""

from __future__ import annotations

from collections.abc import Sequence

from embedq.clock import SECOND, Clock, to_micros
from embedq.display.units import span
from embedq.doctor import checks, proc
from embedq.doctor.findings import Section, Severity
from embedq.doctor.processes import ObservedProcess
from embedq.storage import health
from embedq.storage.base import Database
from embedq.storage.server_clock import ServerClock

# A clock that NTP corrects in small steps is in order.
FUTURE_SECONDS = 2.0
OFFSET_SECONDS = 2.0
LARGE_OFFSET_SECONDS = 60.0
LEAP_SECONDS = 5.0


def check_database(database: Database, clock: Clock, observed: Sequence[ObservedProcess], *, now: int) -> Section:
    """Check the clocks of a database, of this host, and of the processes."""
    newest, offset = database.read(health.newest_created), clock.offset if isinstance(clock, ServerClock) else None
    return check(observed, newest=newest, offset=offset, now=now)


def check(observed: Sequence[ObservedProcess], *, newest: int | None, offset: int | None, now: int) -> Section:
    """Check whether times are plausible.

    Args:
        newest: when the newest job was created; microseconds.
        offset: how far the database's clock is ahead of this host's, in microseconds; None if there is only one.
    """
    section = Section("Clock")
    stamps = [("the newest job was created", newest)] if newest is not None else []
    stamps += [(f"the last heartbeat of {one.name} was", now - round(one.silence * SECOND)) for one in observed]
    ahead, event = max(((stamp - now) / SECOND, event) for event, stamp in stamps) if stamps else (0.0, "")
    if ahead > FUTURE_SECONDS:
        section.add(checks.CLOCK_SET_BACK, event=event, ahead=span(ahead))
    if offset is not None and abs(offset) > OFFSET_SECONDS * SECOND:
        section.add(
            checks.CLOCK_DIFFERS,
            severity=Severity.WARNING if abs(offset) > LARGE_OFFSET_SECONDS * SECOND else None,
            offset=span(offset / SECOND),
            direction="behind" if offset > 0 else "ahead of",
        )
    for one in observed:
        leap = _leap(one, now)
        if leap > LEAP_SECONDS:
            section.add(checks.CLOCK_MOVED_FORWARD, leap=span(leap), process=one.name)
            break
    if not section.findings:
        difference = "" if offset is None else f", {abs(offset) / SECOND:.3f} s from the database's"
        section.fine.append(f"no time is in the future{difference}")
    return section


def _leap(one: ObservedProcess, now: int) -> float:
    """Return how many seconds its registration seems to precede its start, which a clock that was set explains."""
    age = None if one.pid is None else proc.age(one.pid)
    return 0.0 if age is None else (now - to_micros(one.server.started_at)) / SECOND - age
