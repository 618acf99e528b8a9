"""Filters of jobs in a query string: its parameters are those of `Monitor.search`."""

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
from embedq.operations.monitor import SearchKeywords

TEXTS = ("queue", "name", "tag", "schedule", "error", "error_group", "argument")
MOMENTS = ("created_from", "created_to", "finished_from", "finished_to")
FIELDS = ("state", "ids", *TEXTS, "parent", *MOMENTS)
LARGEST_ID = 2**63 - 1
MAX_IDS = 2_000
# Aliases for filter names in the search box.
_ALIASES = {"function": "name", "argument": "argument", "arg": "argument", "group": "error_group", "id": "ids"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFilters:
    """The filters in a query or a form.

    Attributes:
        keywords: for `Monitor.search`.
        pairs: the same as the parameters of a link.
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
        """Describe the filters: `state: dead, queue: mail`."""
        shown = [(name, value) for name, value in self.pairs if name not in ("ids", "state")]
        ids = [value for name, value in self.pairs if name == "ids"]
        parts = [f"{name.replace('_', ' ')}: {value}" for name, value in shown]
        if self.states:
            parts.insert(0, f"state: {_one_of(self.states)}")
        if ids:
            parts.append(f"job {ids[0]}" if len(ids) == 1 else f"{len(ids)} selected jobs")
        return ", ".join(parts) or "all jobs"


def _one_of(states: Sequence[JobState]) -> str:
    """Return `dead or cancelled`, or `any but running` if most states are included."""
    others = [state for state in JobState if state not in states]
    if len(states) <= len(others):
        return " or ".join(states)
    return f"any but {' and '.join(others)}" if others else "any"


def read(params: ImmutableMultiDict[Any, str], visit: Visit) -> QueryFilters:
    """Read the filters from parameters; empty ones are ignored. Redacted values never match.

    Raises:
        BadRequest: an invalid filter.
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
            keywords[name] = _text(name, value)
    single = [name for name, _ in pairs if name not in ("state", "ids")]
    for name in single:
        if single.count(name) > 1:
            raise BadRequest(f"{name} is given {single.count(name)} times, but may be given once only")
    if "argument" in keywords:
        keywords["hidden"] = visit.hidden
    if len(keywords.get("ids", ())) > MAX_IDS:
        raise BadRequest(f"at most {MAX_IDS:,} jobs can be selected by hand; use a filter instead")
    return QueryFilters(keywords=cast(SearchKeywords, keywords), pairs=pairs)


def job_id(text: str) -> int:
    """Parse a job's id. BadRequest if it is invalid."""
    return number("a job id", text.strip())


def number(kind: str, text: str) -> int:
    """Parse a non-negative whole number that a database can store. BadRequest if it is invalid."""
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > LARGEST_ID:
        raise BadRequest(f"{text[:40]!r} is not {kind}")
    return int(text)


def _text(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{name}={text[:40]!r} is not valid text: it has half of a surrogate pair") from None
    if "\0" in text:
        raise BadRequest(f"{name}={text[:40]!r} contains a NUL character, which cannot be searched for")
    return text


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError:
        raise BadRequest(f"unknown state {text[:40]!r}; known: {', '.join(JobState)}") from None


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{name}={text[:40]!r} is not a time; write it like 2026-06-01T12:00, in UTC") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def from_search_box(text: str) -> list[tuple[str, str]]:
    """Parse `queue:mail tag:vip error:"timed out" 4711`. Words without a name search the arguments."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    pairs: list[tuple[str, str]] = []
    loose: list[str] = []
    for word in words:
        name, colon, value = word.partition(":")
        field = _ALIASES.get(name.lower(), name.lower())
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
    """Return the pairs without those of one name."""
    return [pair for pair in pairs if pair[0] != name]
