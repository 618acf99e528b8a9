"""Bar charts, computed on the server and drawn as SVG by the templates. Positions and lengths are percentages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedq.dashboard.templating import number
from embedq.display.units import span
from embedq.job import Ending
from embedq.storage.inspect.history import FAILURES, History

# A bar that is this many times higher than most others is cut off, since the others would not be visible otherwise.
BURST = 4.0
LEAST_HEIGHT = 2.0
# Marks on the time axis, in seconds before now; "now" is always marked.
TIMES = {
    "hour": (3600, 2700, 1800, 900),
    "day": (86_400, 64_800, 43_200, 21_600),
    "week": (6 * 86_400, 4 * 86_400, 2 * 86_400),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BarSegment:
    """A segment of a bar, `height` high, from `y` downwards."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartBar:
    """A bar and its tooltip.

    Attributes:
        cut: the bar exceeds the scale.
        above: its total, shown above some of the bars that are cut off.
    """

    x: float
    parts: list[BarSegment]
    label: str
    cut: bool
    above: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisMark:
    """A line of the grid and its label."""

    place: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars on one scale, which starts at 0.

    Attributes:
        step: the distance between two bars.
        highest: the highest total, even if it exceeds the scale.
        scale: marks from the top down.
        times: marks on the time axis; the last is now.
    """

    bars: list[ChartBar]
    step: float
    highest: int
    scale: list[AxisMark]
    times: list[AxisMark]
    label: str


# The segments of a bar, from the bottom up.
_KINDS: Sequence[tuple[str, Sequence[Ending]]] = (
    ("succeeded", (Ending.SUCCEEDED,)),
    ("failed", FAILURES),
    ("cancelled", (Ending.CANCELLED,)),
)


def chart(history: History) -> Chart:
    """Convert a history to bars with a segment for each outcome."""
    tables = [
        [(kind, sum(bar.totals.endings.get(ending, 0) for ending in endings)) for kind, endings in _KINDS]
        for bar in history.bars
    ]
    sums = [sum(count for _, count in counts) for counts in tables]
    top = _top(sums)
    step = 100 / max(1, len(tables))
    above = _written(sums, top)
    bars = []
    for place, (bar, counts, total) in enumerate(zip(history.bars, tables, sums, strict=True)):
        counts_text = ", ".join(f"{number(count)} {kind}" for kind, count in counts if count) or "nothing"
        bars.append(
            ChartBar(
                x=round(place * step, 3),
                parts=_parts(counts, max(top, total)),
                label=f"{bar.at:%a %H:%M} UTC: {counts_text}",
                cut=total > top,
                above=number(total) if place in above else "",
            )
        )
    totals = {kind: sum(dict(counts)[kind] for counts in tables) for kind, _ in _KINDS}
    return Chart(
        bars=bars,
        step=round(step, 3),
        highest=max(sums, default=0),
        scale=_scale(top) if any(sums) else [],
        times=_times(history),
        label=f"Runs in the last {history.span}: "
        + ", ".join(f"{number(count)} {kind}" for kind, count in totals.items()),
    )


def _top(sums: Sequence[int]) -> int:
    """Return the end of the scale: a round number above all bars, or above all but a few bursts."""
    ordered = sorted(total for total in sums if total)
    if not ordered:
        return 1
    usual = ordered[len(ordered) * 9 // 10 - 1] if len(ordered) >= 10 else ordered[-1]
    return round_up(ordered[-1] if ordered[-1] <= usual * BURST else usual * 2)


def round_up(count: int) -> int:
    """Return the next round number; except for 1, its half is a whole number, too."""
    for small in (1, 2, 4, 6, 8, 10):
        if count <= small:
            return small
    size = 1
    while True:
        for two_digits in (12, 16, 20, 30, 40, 50, 60, 80, 100):
            if count <= two_digits * size:
                return two_digits * size
        size *= 10


def _written(sums: Sequence[int], top: int) -> set[int]:
    """Return the cut-off bars that are labelled with their total: no two close to each other."""
    near = len(sums) // 10
    found: set[int] = set()
    for place in sorted(range(len(sums)), key=lambda place: -sums[place]):
        if sums[place] > top and all(abs(place - other) > near for other in found):
            found.add(place)
    return found


def _scale(top: int) -> list[AxisMark]:
    half = [AxisMark(place=50, label=number(top / 2))] if top % 2 == 0 else []
    return [AxisMark(place=0, label=number(top)), *half]


def _times(history: History) -> list[AxisMark]:
    length = len(history.bars) * history.bar_seconds
    ago = [
        AxisMark(place=round(100 - seconds / length * 100, 2), label=f"{span(seconds)} ago")
        for seconds in TIMES[history.span]
        if seconds <= length
    ]
    return [*ago, AxisMark(place=100, label="now")]


def _parts(counts: Sequence[tuple[str, int]], top: int) -> list[BarSegment]:
    parts, y = [], 100.0
    for kind, count in counts:
        if count:
            # A single failure among thousands stays visible.
            height = max(LEAST_HEIGHT, count / top * 100)
            y = max(0.0, y - height)
            parts.append(BarSegment(kind=kind, y=round(y, 2), height=round(height, 2)))
    return parts
