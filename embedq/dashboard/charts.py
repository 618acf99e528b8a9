"""Small graphs, worked out on the server and drawn as SVG by the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from embedq.dashboard.templating import number
from embedq.job import Ending
from embedq.storage.inspect.history import FAILURES, History

HEIGHT = 60.0
STEP = 4.0
WIDTH = 3.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a bar: from `y` down, `height` high."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartBar:
    """A bar, and what to say of it on hover."""

    x: float
    parts: list[Part]
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars on one scale from 0 to `highest`."""

    bars: list[ChartBar]
    width: float
    highest: int
    start: datetime
    end: datetime
    label: str


# What is drawn from the bottom up.
_KINDS: Sequence[tuple[str, Sequence[Ending]]] = (
    ("succeeded", (Ending.SUCCEEDED,)),
    ("failed", FAILURES),
    ("cancelled", (Ending.CANCELLED,)),
)


def chart(history: History) -> Chart:
    """A history as bars by outcome."""
    tables = [
        [(kind, sum(bar.totals.endings.get(ending, 0) for ending in endings)) for kind, endings in _KINDS]
        for bar in history.bars
    ]
    highest = max((sum(count for _, count in counts) for counts in tables), default=0)
    bars = []
    for place, (bar, counts) in enumerate(zip(history.bars, tables, strict=True)):
        said = ", ".join(f"{number(count)} {kind}" for kind, count in counts if count) or "nothing"
        bars.append(ChartBar(x=place * STEP, parts=_parts(counts, highest), label=f"{bar.at:%a %H:%M} UTC: {said}"))
    totals = {kind: sum(dict(counts)[kind] for counts in tables) for kind, _ in _KINDS}
    return Chart(
        bars=bars,
        width=max(1, len(bars)) * STEP,
        highest=highest,
        start=history.bars[0].at,
        end=history.bars[-1].at,
        label=f"Runs in the last {history.span}: "
        + ", ".join(f"{number(count)} {kind}" for kind, count in totals.items()),
    )


def _parts(counts: Sequence[tuple[str, int]], highest: int) -> list[Part]:
    parts, top = [], HEIGHT
    for kind, count in counts:
        if count:
            # A single failure among thousands can be seen, too.
            height = max(1.2, count / highest * HEIGHT)
            top = max(0.0, top - height)
            parts.append(Part(kind=kind, y=round(top, 2), height=round(height, 2)))
    return parts
