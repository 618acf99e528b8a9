"""Small graphs, worked out on the server and drawn as SVG by the templates. All places and lengths are percentages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedq.dashboard.templating import number
from embedq.job import Ending
from embedq.storage.inspect.history import FAILURES, History
from embedq.wording import span

# A bar that is so many times as high as most others are goes through the top, or nothing would be seen of these.
BURST = 4.0
LEAST_HEIGHT = 2.0
# Marks on the axis of time, in seconds before now, besides now.
TIMES = {
    "hour": (3600, 2700, 1800, 900),
    "day": (86_400, 64_800, 43_200, 21_600),
    "week": (6 * 86_400, 4 * 86_400, 2 * 86_400),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a bar: from `y` down, `height` high."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartBar:
    """A bar, and what to say of it on hover.

    Attributes:
        cut: it goes through the top of the scale.
        above: how much it is, written above some of those.
    """

    x: float
    parts: list[Part]
    label: str
    cut: bool
    above: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A line across the graph, and what it stands for."""

    place: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars on one scale, which begins at 0.

    Attributes:
        step: from one bar to the next.
        highest: of the bars, also where it is beyond the scale.
        scale: from the top down.
        times: the last is now.
    """

    bars: list[ChartBar]
    step: float
    highest: int
    scale: list[Mark]
    times: list[Mark]
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
    sums = [sum(count for _, count in counts) for counts in tables]
    top = _top(sums)
    step = 100 / max(1, len(tables))
    above = _written(sums, top)
    bars = []
    for place, (bar, counts, total) in enumerate(zip(history.bars, tables, sums, strict=True)):
        said = ", ".join(f"{number(count)} {kind}" for kind, count in counts if count) or "nothing"
        bars.append(
            ChartBar(
                x=round(place * step, 3),
                parts=_parts(counts, max(top, total)),
                label=f"{bar.at:%a %H:%M} UTC: {said}",
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
    """Where the scale ends: at a round number above all bars, or above all but a few bursts."""
    ordered = sorted(total for total in sums if total)
    if not ordered:
        return 1
    usual = ordered[len(ordered) * 9 // 10 - 1] if len(ordered) >= 10 else ordered[-1]
    return round_up(ordered[-1] if ordered[-1] <= usual * BURST else usual * 2)


def round_up(count: int) -> int:
    """The next round number; but for 1, its half is a whole number, too."""
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
    """The bars beyond the scale whose count is written: not two that are near each other."""
    near = len(sums) // 10
    found: set[int] = set()
    for place in sorted(range(len(sums)), key=lambda place: -sums[place]):
        if sums[place] > top and all(abs(place - other) > near for other in found):
            found.add(place)
    return found


def _scale(top: int) -> list[Mark]:
    half = [Mark(place=50, label=number(top / 2))] if top % 2 == 0 else []
    return [Mark(place=0, label=number(top)), *half]


def _times(history: History) -> list[Mark]:
    length = len(history.bars) * history.bar_seconds
    ago = [
        Mark(place=round(100 - seconds / length * 100, 2), label=f"{span(seconds)} ago")
        for seconds in TIMES[history.span]
        if seconds <= length
    ]
    return [*ago, Mark(place=100, label="now")]


def _parts(counts: Sequence[tuple[str, int]], top: int) -> list[Part]:
    parts, y = [], 100.0
    for kind, count in counts:
        if count:
            # A single failure among thousands can be seen, too.
            height = max(LEAST_HEIGHT, count / top * 100)
            y = max(0.0, y - height)
            parts.append(Part(kind=kind, y=round(y, 2), height=round(height, 2)))
    return parts
