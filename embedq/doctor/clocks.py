"""Whether the clocks can be believed: jobs are due, and leases end, by them."""

from __future__ import annotations

from collections.abc import Sequence

from embedq.clock import SECOND, to_micros
from embedq.doctor import proc
from embedq.doctor.findings import Section
from embedq.doctor.processes import Seen
from embedq.wording import span

# A clock that NTP corrects in small steps is in order.
FUTURE_SECONDS = 2.0
OFFSET_SECONDS = 2.0
FAR_SECONDS = 60.0
LEAP_SECONDS = 5.0


def check(seen: Sequence[Seen], *, newest: int | None, offset: int | None, now: int) -> Section:
    """Whether times make sense.

    Args:
        newest: when the newest job was made; microseconds.
        offset: how far the database's clock is ahead of this host's, in microseconds; None where there is only one.
    """
    section = Section("Clock")
    stamps = [("the newest job was made", newest)] if newest is not None else []
    stamps += [(f"{one.name} spoke", now - round(one.silent * SECOND)) for one in seen]
    ahead = max(((stamp - now) / SECOND, what) for what, stamp in stamps) if stamps else (0.0, "")
    if ahead[0] > FUTURE_SECONDS:
        section.error(
            "clock-set-back",
            f"{ahead[1]} {span(ahead[0])} from now: this clock was set back, or another was ahead",
            "delayed and recurring jobs come at this clock's times. If it is wrong now, set it (chronyc tracking, "
            "timedatectl); if it was wrong before, look at what was due meanwhile: embedq jobs --state scheduled",
        )
    if offset is not None and abs(offset) > OFFSET_SECONDS * SECOND:
        add = section.warning if abs(offset) > FAR_SECONDS * SECOND else section.note
        add(
            "clock-differs",
            f"this host's clock is {span(offset / SECOND)} {'behind' if offset > 0 else 'ahead of'} the database's",
            "jobs keep to the database's clock, and the code in them to this host's: run NTP on both",
        )
    for one in seen:
        leap = _leap(one, now)
        if leap > LEAP_SECONDS:
            section.warning(
                "clock-moved-forward",
                f"the clock was moved forward by {span(leap)} or more while {one.name} ran",
                "what was due in between was late, and recurring jobs kept to their misfire policy: embedq schedules "
                "show NAME. Let NTP correct the clock in small steps",
            )
            break
    if not section.findings:
        where = "" if offset is None else f", {abs(offset) / SECOND:.3f} s from the database's"
        section.fine.append(f"nothing is from the future{where}")
    return section


def _leap(one: Seen, now: int) -> float:
    """How much earlier it registered, by the clock of then, than it was started by the clock of now; seconds."""
    age = None if one.pid is None else proc.age(one.pid)
    return 0.0 if age is None else (now - to_micros(one.server.started_at)) / SECOND - age
