"""Pauses: those without an end that are old, the others, and processes that do not know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedq.clock import to_datetime
from embedq.display.units import relative, span
from embedq.doctor import checks
from embedq.doctor.findings import Section
from embedq.flow.holds import HoldKind
from embedq.storage import holds, inspect
from embedq.storage.base import Transaction
from embedq.storage.holds import Hold, IgnoringProcess
from embedq.storage.inspect import Server

# A pause without an end that is older may have been forgotten.
OLD_SECONDS = 86_400
SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseFacts:
    """What is paused, the processes, and those that do not know pauses."""

    holds: Sequence[Hold]
    servers: Sequence[Server]
    ignoring: Sequence[IgnoringProcess]


def read(tx: Transaction, *, now: int) -> PauseFacts:
    """Read the facts."""
    found = holds.in_force(tx, now=now)
    return PauseFacts(
        holds=found, servers=inspect.servers(tx) if found else (), ignoring=holds.ignoring(tx) if found else ()
    )


def check(facts: PauseFacts, *, now: int) -> Section:
    """Check the pauses."""
    section = Section("Pauses")
    for hold in facts.holds[:SHOWN]:
        reason = f": {hold.reason}" if hold.reason else ""
        paused = (to_datetime(now) - hold.since).total_seconds()
        if hold.until is None and paused > OLD_SECONDS:
            section.add(
                checks.PAUSED_LONG, what=_what(hold, facts.servers), since=span(paused), reason=reason, actor=hold.actor
            )
        else:
            until = "" if hold.until is None else f", ends {relative(hold.until, to_datetime(now))}"
            section.add(checks.PAUSED, what=_what(hold, facts.servers), actor=hold.actor, until=until, reason=reason)
    for process in facts.ignoring:
        section.add(checks.PAUSE_IGNORED, **process._asdict())
    if not section.findings:
        section.fine.append("nothing is paused")
    return section


def _what(hold: Hold, servers: Sequence[Server]) -> str:
    if hold.kind is not HoldKind.PROCESS:
        return str(hold)
    names = {server.uuid: f"process {server.pid} on {server.hostname}" for server in servers}
    return names.get(hold.name, "a process that is gone")
