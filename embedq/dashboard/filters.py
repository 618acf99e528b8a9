"""Which jobs a link means: the parameters of its query are the filters of `Monitor.search`, under the same names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from starlette.datastructures import ImmutableMultiDict

from embedq.dashboard.visit import BadRequest, Visit
from embedq.job import JobState
from embedq.monitor import SearchKeywords

TEXTS = ("queue", "name", "tag", "schedule", "error", "error_group", "argument")
MOMENTS = ("created_from", "created_to", "finished_from", "finished_to")
FIELDS = ("state", "ids", *TEXTS, "parent", *MOMENTS)
LARGEST_ID = 2**63 - 1
MOST_IDS = 2_000
# What may stand before the colon in the search box.
_WORDS = {"function": "name", "argument": "argument", "arg": "argument", "group": "error_group", "id": "ids"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What was read from a query or a form.

    Attributes:
        keywords: for `Monitor.search`.
        pairs: the same as parameters of a link.
    """

    keywords: SearchKeywords
    pairs: list[tuple[str, str]]

    def __bool__(self) -> bool:
        return bool(self.pairs)

    @property
    def states(self) -> tuple[JobState, ...]:
        return tuple(JobState(value) for name, value in self.pairs if name == "state")

    @property
    def words(self) -> str:
        """For people: `state: dead, queue: mail`."""
        shown = [(name, value) for name, value in self.pairs if name not in ("ids", "state")]
        ids = [value for name, value in self.pairs if name == "ids"]
        parts = [f"{name.replace('_', ' ')}: {value}" for name, value in shown]
        if self.states:
            parts.insert(0, f"state: {_one_of(self.states)}")
        if ids:
            parts.append(f"job {ids[0]}" if len(ids) == 1 else f"{len(ids)} selected jobs")
        return ", ".join(parts) or "all jobs"


def _one_of(states: Sequence[JobState]) -> str:
    """`dead or cancelled`; of most of them those that are left out, `any but running`."""
    others = [state for state in JobState if state not in states]
    if len(states) <= len(others):
        return " or ".join(states)
    return f"any but {' and '.join(others)}" if others else "any"


def read(params: ImmutableMultiDict[Any, str], visit: Visit) -> Filters:
    """The filters among some parameters; empty ones are none. What the visitor is not shown matches nothing.

    Raises:
        BadRequest: one that cannot be understood.
    """
    pairs = [(name, value) for name in FIELDS for value in params.getlist(name) if value.strip()]
    keywords: dict[str, Any] = {}
    for name, value in pairs:
        if name == "state":
            keywords.setdefault("state", []).append(_state(value))
        elif name == "ids":
            keywords.setdefault("ids", []).append(job_id(value))
        elif name == "parent":
            keywords[name] = job_id(value)
        elif name in MOMENTS:
            keywords[name] = _moment(name, value)
        else:
            keywords[name] = value
    if "argument" in keywords:
        keywords["hidden"] = visit.hidden
    if len(keywords.get("ids", ())) > MOST_IDS:
        raise BadRequest(f"at most {MOST_IDS:,} jobs can be selected by hand; use a filter instead")
    return Filters(keywords=cast(SearchKeywords, keywords), pairs=pairs)


def job_id(text: str) -> int:
    """An id. BadRequest if it is none."""
    if not re.fullmatch(r"[0-9]{1,19}", text.strip()) or int(text) > LARGEST_ID:
        raise BadRequest(f"{text[:40]!r} is not the number of a job")
    return int(text)


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError:
        raise BadRequest(f"there is no state {text[:40]!r}; the states are: {', '.join(JobState)}") from None


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{name}={text[:40]!r} is no time; write it like 2026-06-01T12:00, in UTC") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def from_search_box(text: str) -> list[tuple[str, str]]:
    """What somebody typed: `queue:mail tag:vip error:"timed out" 4711`. Words without a name are for the arguments."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    pairs: list[tuple[str, str]] = []
    loose: list[str] = []
    for word in words:
        name, colon, value = word.partition(":")
        field = _WORDS.get(name.lower(), name.lower())
        if colon and value and field in FIELDS:
            pairs.append((field, value))
        else:
            loose.append(word)
    if loose:
        if len(loose) == 1 and loose[0].lstrip("#").isascii() and loose[0].lstrip("#").isdigit() and not pairs:
            return [("ids", loose[0].lstrip("#"))]
        pairs.append(("argument", " ".join(loose)))
    return pairs


def without(pairs: Iterable[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    """The pairs but for one name."""
    return [pair for pair in pairs if pair[0] != name]
