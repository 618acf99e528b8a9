"""Searches, and their conditions in SQL."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from embedq.clock import to_datetime, to_micros
from embedq.display.redaction import Hidden
from embedq.display.units import brief
from embedq.errors import ConfigurationError
from embedq.job import ENDED, JobState
from embedq.storage.inspect.fingerprints import NO_ERROR

# Beyond it no database has an id.
LARGEST = (1 << 63) - 1

# How each state is found without reading the others: the partial index's own condition.
FOUND_BY = {
    JobState.READY: "state = 'ready'",
    JobState.RUNNING: "state = 'running'",
    JobState.PARKED: "state = 'parked'",
    JobState.AWAITING: "state = 'awaiting'",
    JobState.SCHEDULED: "state IN ('scheduled', 'retrying') AND state = 'scheduled'",
    JobState.RETRYING: "state IN ('scheduled', 'retrying') AND state = 'retrying'",
    **{state: f"delete_at IS NOT NULL AND state = '{state}'" for state in ENDED},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which jobs. All that is given must match; texts are taken literally, letter for letter.

    Attributes:
        states: any of these; empty for all.
        error: a part of the last error's text.
        error_group: the last error's `fingerprint`.
        argument: a part of the stored arguments, which are JSON text.
        hidden: the part of the arguments that is hidden, and not searched; None if nothing is.
        ids: any of these; None for all.
        parent: the id of the job that they continue.
        created_from, created_to, finished_from, finished_to: aware; from this moment on, and before that one.
    Raises:
        ConfigurationError: a moment without a time zone, or what no database can hold.
    """

    states: tuple[JobState, ...] = ()
    queue: str | None = None
    name: str | None = None
    tag: str | None = None
    schedule: str | None = None
    error: str | None = None
    error_group: str | None = None
    argument: str | None = None
    hidden: Hidden | None = None
    ids: tuple[int, ...] | None = None
    parent: int | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    finished_from: datetime | None = None
    finished_to: datetime | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, datetime):
                _micros(value)
            elif isinstance(value, str):
                _check_text(item.name, value)
        if self.parent is not None and not -LARGEST <= self.parent <= LARGEST:
            raise ConfigurationError(f"parent={brief(self.parent)} is not the number of a job")
        if self.ids is not None:
            # No job has a number that no database can hold.
            object.__setattr__(self, "ids", tuple(one for one in self.ids if -LARGEST <= one <= LARGEST))

    @property
    def given(self) -> dict[str, Any]:
        """The given filters, as plain values for JSON; moments in microseconds."""
        found = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and value != ():
                found[item.name] = to_micros(value) if isinstance(value, datetime) else value
        if self.hidden is not None:
            found["hidden"] = asdict(self.hidden)
        if self.states:
            found["states"] = [state.value for state in self.states]
        return found

    @classmethod
    def of(cls, given: dict[str, Any]) -> Search:
        """Return the search of which these are the `given` filters."""
        values = dict(given)
        for name in ("created_from", "created_to", "finished_from", "finished_to"):
            if name in values:
                values[name] = to_datetime(values[name])
        if "ids" in values:
            values["ids"] = tuple(values["ids"])
        if "hidden" in values:
            hidden = values["hidden"]
            values["hidden"] = Hidden(patterns=tuple(hidden["patterns"]), places=hidden["places"])
        return cls(**{**values, "states": tuple(JobState(state) for state in values.get("states", ()))})


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that all must hold, and their parameters.

    Attributes:
        texts: some of them look into texts, which takes its time.
    """

    where: tuple[str, ...]
    params: tuple[Any, ...]
    texts: bool

    def clause(self, *more: str) -> str:
        """All of them behind `WHERE`, after others; empty when there is none."""
        return f"WHERE {' AND '.join((*more, *self.where))}" if more or self.where else ""


def conditions(search: Search, *, states: bool = True) -> Conditions:
    """Return the conditions that a row must meet, except for the ids.

    Args:
        states: False leaves the states out, because the rows come by them.
    """
    where: list[str] = []
    params: list[Any] = []

    def add(condition: str, *values: Any) -> None:
        where.append(condition)
        params.extend(values)

    if states and search.states:
        if len(search.states) == 1:
            add(FOUND_BY[search.states[0]])
        else:
            add(f"state IN ({', '.join('?' * len(search.states))})", *search.states)
    for column in ("queue", "name", "schedule"):
        value = getattr(search, column)
        if value is not None:
            add(f"{column} = ?", value)
    if search.parent is not None:
        add("parent_id = ?", search.parent)
    for condition, moment in (
        ("created_at >= ?", search.created_from), ("created_at < ?", search.created_to),
        ("finished_at >= ?", search.finished_from), ("finished_at < ?", search.finished_to),
    ):  # fmt: skip
        if moment is not None:
            add(condition, _micros(moment))
    if search.tag is not None:
        add("{has_tag}", search.tag)
    if search.error is not None:
        add("{error_contains}", search.error)
    if search.error_group == NO_ERROR:
        add("error IS NULL")
    elif search.error_group is not None:
        # The reader of the rows compares the fingerprint itself.
        add("{error_contains}", search.error_group.partition(":")[0].removesuffix("…"))
    # The reader of the rows searches in redacted arguments; a search here would reveal secrets by its duration.
    if search.argument is not None and search.hidden is None:
        # Stored as JSON, which writes some characters in another way.
        stored = json.dumps(search.argument)[1:-1]
        if stored == search.argument:
            add("{payload_contains}", stored)
        else:
            add("({payload_contains} OR {payload_contains})", search.argument, stored)
    texts = any(text is not None for text in (search.tag, search.error, search.error_group, search.argument))
    return Conditions(tuple(where), tuple(params), texts)


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{name}={brief(text)} has half of a surrogate pair in it, and no stored text has"
        ) from None
    if "\0" in text:
        raise ConfigurationError(f"{name}={brief(text)} has a NUL character in it, which cannot be searched for")


def _micros(moment: datetime) -> int:
    try:
        return to_micros(moment)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
