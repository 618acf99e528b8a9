"""Which lane a call's job stands in, and under which limits: from its options and its bound arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from embedq.errors import ConfigurationError, EmbedqError, EnqueueError
from embedq.flow.lanes import Pair, lane_key
from embedq.flow.limits import MOST_LIMITS, Limit, declare, key_of, own_limits
from embedq.tasks.functions import AnyCallable
from embedq.tasks.options import Options


class LaneColumns(NamedTuple):
    """The columns of a job that stands in a lane."""

    lane_key: str
    weight: int | None
    limit_1: str | None
    key_1: str | None
    limit_2: str | None
    key_2: str | None


def limits_of(name: str, options: Options) -> list[Limit]:
    """Return the limits that a function's jobs are under, its own first; the code's values of them are recorded.

    Raises:
        ConfigurationError: they are too many.
    """
    if not options.laned:
        return []
    found = [*own_limits(name, options.concurrency, options.rate), *(options.limits or ())]
    if len(found) > MOST_LIMITS:
        names = ", ".join(str(limit.name) for limit in found)
        raise ConfigurationError(f"{name} is under {len(found)} limits ({names}); {MOST_LIMITS} is the most")
    for limit in found:
        assert limit.name is not None
        declare(limit.name, limit.values())
    return found


def lane_columns(
    name: str, function: AnyCallable, options: Options, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> LaneColumns:
    """Return what is stored of the lane of a call.

    Raises:
        EnqueueError: a key cannot be had from the arguments.
    """
    limits = limits_of(name, options)
    fair: str | None = options.lane
    try:
        arguments: Mapping[str, Any] = {}
        if (fair is None and options.fair_by is not None) or any(limit.key is not None for limit in limits):
            arguments = _bound(function, args, kwargs)
        if fair is None and options.fair_by is not None:
            fair = key_of(options.fair_by, arguments)
        pairs: list[Pair] = [
            (str(limit.name), "" if limit.key is None else key_of(limit.key, arguments)) for limit in limits
        ]
    except EmbedqError as error:
        raise EnqueueError(f"{name} cannot be enqueued: {error}") from None
    padded = [*pairs, (None, None), (None, None)]
    return LaneColumns(lane_key(fair, pairs), options.weight, *padded[0], *padded[1])


def _bound(function: AnyCallable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments
