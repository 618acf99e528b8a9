"""The verbs that apply to jobs and to recurring jobs: labels, permissions, and the states that allow them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from embedq.dashboard.access import Permission
from embedq.job import JobState
from embedq.operations.actions import ALLOWED


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A row of the table.

    Attributes:
        done: its past participle, for messages.
        states: the states in which the pages offer it.
        always_confirmed: whether it requires confirmation even for a single job.
    """

    label: str
    done: str
    permission: Permission
    states: Collection[JobState]
    always_confirmed: bool = False


JOB_VERBS = {
    # Delayed jobs are retried by "run", which keeps their count of attempts.
    "retry": Verb(
        label="Retry", done="Retried", permission=Permission.RETRY, states=set(ALLOWED["retry"]) - set(ALLOWED["run"])
    ),
    "run": Verb(label="Run now", done="Started", permission=Permission.RETRY, states=ALLOWED["run"]),
    "cancel": Verb(label="Cancel", done="Cancelled", permission=Permission.CANCEL, states=ALLOWED["cancel"]),
    "move": Verb(label="Move", done="Moved", permission=Permission.EDIT, states=ALLOWED["move"], always_confirmed=True),
    "delete": Verb(
        label="Delete", done="Deleted", permission=Permission.DELETE, states=ALLOWED["delete"], always_confirmed=True
    ),
}
# The verbs of recurring jobs and their past participles.
SCHEDULE_VERBS = {"run": "Started", "pause": "Paused", "resume": "Resumed", "remove": "Removed"}


def offered(states: Collection[JobState]) -> list[str]:
    """Return the verbs that apply to at least one of these states."""
    return [name for name, verb in JOB_VERBS.items() if not set(states).isdisjoint(verb.states)]
