"""Checks that a recurring job exists, and is as a test expects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta, tzinfo
from typing import Any

from embedq.scheduling.misfire import Misfire, misfire_from_text, parse_misfire
from embedq.scheduling.overlap import parse_overlap
from embedq.scheduling.schedule import Cron, Every, parse_schedule, schedule_from_text
from embedq.scheduling.wall_clock import zone_name
from embedq.serializers import loads_call
from embedq.storage.schedules import ScheduleRow
from embedq.tasks.registry import Registry
from embedq.testing.enqueued import call_text
from embedq.testing.matching import expected_job


def describe(row: ScheduleRow) -> str:
    """A recurring job as one line."""
    args, kwargs = loads_call(json.loads(row.template)["payload"])
    paused = "" if row.paused_at is None else ", paused"
    return f"{row.name!r}: {schedule_from_text(row.spec)}{paused}  {call_text(row.task, args, kwargs)}"


def differences(
    row: ScheduleRow,
    registry: Registry,
    *,
    when: str | Cron | Every | timedelta | None,
    timezone: str | tzinfo | None,
    misfire: str | Misfire | None,
    overlap: str | None,
    function: Callable[..., Any] | str | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> list[str]:
    """Return how a recurring job differs from the given one; None, or no arguments, matches anything.

    Raises:
        ScheduleError: `when`, `timezone`, `misfire` or `overlap` can never work.
    """
    told = []
    own = schedule_from_text(row.spec)
    if when is not None:
        asked = parse_schedule(when, timezone=timezone, name=row.name)
        if timezone is None and isinstance(when, str) and isinstance(asked, Cron) and isinstance(own, Cron):
            asked = replace(asked, timezone=own.timezone)
        if asked != own:
            told.append(f"it is due by {own}, not by {asked}")
    elif timezone is not None and getattr(own, "timezone", None) != zone_name(timezone):
        told.append(f"it is due by {own}, not in {timezone}")
    if misfire is not None and (policy := misfire_from_text(row.misfire)) != parse_misfire(misfire):
        told.append(f"its misfire policy is {policy}")
    if overlap is not None and row.overlap != parse_overlap(overlap):
        told.append(f"its overlap policy is {row.overlap!r}")
    if function is not None:
        call = expected_job(registry, function, args, kwargs)
        own_args, own_kwargs = loads_call(json.loads(row.template)["payload"])
        unlike = call.call_differences(row.task, own_args, own_kwargs)
        if unlike is None:
            told.append(f"it runs {row.task}, not {call.name}")
        else:
            told += unlike
    return told
