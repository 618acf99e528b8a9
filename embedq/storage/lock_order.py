"""Which writes of a group share a transaction on a server, and in what order, so that no two processes deadlock.

Every transaction takes what others lock too in one order: first rows of jobs, by their ids, then unique keys, by the
keys, and then idempotency keys, likewise. Writes that come together know nothing of each other. So inserts that lock a
parent, or take an idempotency key, are brought into that order; what locks other rows has a transaction of its own; and
what locks nothing goes with any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from embedq.flow.unique import may_have_rule
from embedq.storage import jobs
from embedq.storage.rows import NewJob


class Lone(Enum):
    """How a write may be in a transaction with others."""

    WITH_ANY = "it locks nothing that is there already"
    WITH_NONE = "it locks rows in an order of its own"


class InOrder(NamedTuple):
    """An insert that locks a row or takes a key, or both; 0 and "" stand for none."""

    key: str
    parent_id: int


Place = Lone | InOrder


class TransactionPart(NamedTuple):
    """Writes that go in one transaction, in this order, once these jobs are locked."""

    places: tuple[int, ...]
    parents: tuple[int, ...] = ()


def is_bare(function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Return whether this write is the insert of one job in one statement, which no other job's key can stop."""
    return function is jobs.insert and args[0].idempotency_key is None and not may_have_rule(args[0].options)


def place_of(function: Callable[..., Any], args: tuple[Any, ...]) -> Place:
    """The place of `function(transaction, *args)` among others."""
    if function is jobs.insert or function is jobs.insert_continuation:
        job: NewJob = args[0]
        if may_have_rule(job.options):
            return Lone.WITH_NONE
        if job.idempotency_key is None and job.parent_id is None:
            return Lone.WITH_ANY
        return InOrder(job.idempotency_key or "", job.parent_id or 0)
    if function is jobs.insert_all and not any(
        job.idempotency_key or job.parent_id or may_have_rule(job.options) for job in args[0]
    ):
        return Lone.WITH_ANY
    return Lone.WITH_NONE


def parts(places: Sequence[object]) -> list[TransactionPart]:
    """What of a group goes in one transaction each, by its place in the group."""
    free = [number for number, place in enumerate(places) if place is Lone.WITH_ANY]
    lone = [number for number, place in enumerate(places) if place is Lone.WITH_NONE]
    found = [TransactionPart((number,)) for number in lone]
    if free:
        found[:1] = [TransactionPart((*free, *lone[:1]))]
    ordered = sorted((place, number) for number, place in enumerate(places) if isinstance(place, InOrder))
    if ordered:
        parents = {place.parent_id for place, _ in ordered if place.parent_id}
        # Of one kind only, they lock in order by themselves.
        mixed = len(parents) > 0 and any(place.key for place, _ in ordered) and len(ordered) > 1
        found.append(TransactionPart(tuple(number for _, number in ordered), tuple(sorted(parents)) if mixed else ()))
    return found
