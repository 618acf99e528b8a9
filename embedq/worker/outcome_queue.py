"""Outcomes on their way from the threads that run jobs to the database."""

from __future__ import annotations

from collections import deque

from embedq.storage.rows import Outcome
from embedq.worker.claim_ledger import ClaimKey
from embedq.worker.notes import Notes


class OutcomeQueue:
    """Any thread may add to `reported`; the dispatcher's thread does the rest.

    While an outcome is moved it is in both lists for a moment, and never in neither: an exception may end the
    dispatcher's work at any line.

    Attributes:
        reported: outcomes that no turn has taken yet.
        unwritten: outcomes that a turn has taken and that are not known to be durable.
    """

    __slots__ = ("reported", "unwritten")

    def __init__(self) -> None:
        self.reported: deque[Outcome] = deque()
        self.unwritten: list[Outcome] = []

    def __len__(self) -> int:
        return len(self.reported) + len(self.unwritten)

    def claims(self) -> set[ClaimKey]:
        """Return the claims that end with these outcomes."""
        return {(outcome.job_id, outcome.claim) for outcome in [*list(self.reported), *self.unwritten]}

    def take(self, notes: Notes) -> list[Outcome]:
        """Return the outcomes to write now. The end of a job is not visible before its log lines are written."""
        if reported := list(self.reported):
            late = [outcome for outcome in reported if not notes.is_logged(outcome.job_id)] if notes.behind else []
            late_ids = {id(outcome) for outcome in late}
            ready = [outcome for outcome in reported if id(outcome) not in late_ids] if late else reported
            self.unwritten = [*self.unwritten, *ready]
            for _ in reported:
                self.reported.popleft()
            self.reported.extendleft(reversed(late))
        return self.unwritten

    def remove_duplicates(self) -> None:
        """Remove what `take` had moved when an exception ended it."""
        taken = {id(outcome) for outcome in self.unwritten}
        while self.reported and id(self.reported[0]) in taken:
            self.reported.popleft()
