"""A figure, the mark it should reach, and how both are printed and written."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedq import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a figure should reach.

    Attributes:
        of: "ratio", of the figure to the limit beside it, or "value", the figure itself.
        at_least: whether more is better.
    """

    of: str
    bound: float
    at_least: bool

    def as_json(self) -> dict[str, Any]:
        """As it is written."""
        return {"of": self.of, "at_least" if self.at_least else "at_most": self.bound}

    def reached(self, figure: Figure) -> bool:
        """Whether the figure is on the right side of the bound."""
        found = figure.ratio if self.of == "ratio" else figure.value
        assert found is not None, "a mark on a ratio needs a limit"
        return found >= self.bound if self.at_least else found <= self.bound


def ratio_at_least(bound: float) -> Mark:
    """At least so many times the limit."""
    return Mark(of="ratio", bound=bound, at_least=True)


def ratio_at_most(bound: float) -> Mark:
    """At most so many times the limit."""
    return Mark(of="ratio", bound=bound, at_least=False)


def at_most(bound: float) -> Mark:
    """At most this, in the figure's own unit."""
    return Mark(of="value", bound=bound, at_least=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        measure: the name for `--only`.
        title: what was measured.
        values: one a round; the median counts.
        limits: the limit measured beside each value; empty when there is none.
        limit_title: what the limit is.
        mark: None when the figure is only told.
        series: what else belongs to it in the JSON.
        load: the machine's load average of the last minute when it was measured.
    """

    measure: str
    title: str
    unit: str
    values: Sequence[float]
    limits: Sequence[float] = ()
    limit_title: str = ""
    mark: Mark | None = None
    series: Sequence[Any] = ()
    load: float = field(default_factory=lambda: load_average())

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def limit(self) -> float | None:
        """The median of the rounds."""
        return statistics.median(self.limits) if self.limits else None

    @property
    def ratio(self) -> float | None:
        """The median of each round's own ratio: limit and measure met the same noise."""
        if not self.limits:
            return None
        return statistics.median(value / limit for value, limit in zip(self.values, self.limits, strict=True))

    @property
    def reached(self) -> bool | None:
        """Whether the mark is reached; None without one."""
        return None if self.mark is None else self.mark.reached(self)

    def as_json(self) -> dict[str, Any]:
        """Everything about it."""
        mark = self.mark
        return {
            "measure": self.measure,
            "title": self.title,
            "unit": self.unit,
            "value": self.value,
            "limit": self.limit,
            "limit_title": self.limit_title or None,
            "ratio": self.ratio,
            "mark": None if mark is None else mark.as_json(),
            "reached": self.reached,
            "values": list(self.values),
            "limits": list(self.limits),
            "series": list(self.series),
            "load_average": self.load,
        }


HEADER = ("measure", "figure", "limit", "ratio", "mark", "reached")
WIDTHS = (63, 15, 15, 7, 13, 7)


def line(cells: Sequence[str]) -> str:
    """One row of the table."""
    first, *rest = cells
    return "  ".join(
        [first.ljust(WIDTHS[0]), *(cell.rjust(width) for cell, width in zip(rest, WIDTHS[1:], strict=True))]
    )


def row(figure: Figure) -> str:
    """A figure as a row of the table."""
    mark = figure.mark
    return line(
        [
            figure.title,
            amount(figure.value, figure.unit),
            "" if figure.limit is None else amount(figure.limit, figure.unit),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            "" if mark is None else mark_text(mark.as_json(), figure.unit),
            "" if figure.reached is None else "yes" if figure.reached else "MISSED",
        ]
    )


def mark_text(mark: Mapping[str, Any], unit: str) -> str:
    """A mark as in the JSON, for people."""
    sign, bound = ("≥", mark["at_least"]) if "at_least" in mark else ("≤", mark["at_most"])
    return f"{sign} {bound:g} ×" if mark["of"] == "ratio" else f"{sign} {bound:g} {unit}"


def amount(value: float, unit: str) -> str:
    """A figure with three digits or so, and its unit."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}"


def machine(kind: str, database: str, folder: Path | None) -> dict[str, Any]:
    """Where the figures come from.

    Args:
        kind: of database; `database` says which exactly, for people.
        folder: where its files are; None if a server knows.
    """
    return {
        "embedq": __version__,
        "python": platform.python_version(),
        "kind": kind,
        "database": database,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "filesystem": "" if folder is None else filesystem(folder),
        "load_average": load_average(),
    }


def load_average() -> float:
    """The load average of the last minute; -1 where there is none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return -1.0


def unrest(about: Mapping[str, Any]) -> str | None:
    """A warning for a run that began while the machine had much else to do; None for a calm one."""
    load, cores = about["load_average"], about["cores"] or 1
    if load <= cores / 2:
        return None
    return (
        f"the load average was {load} on {cores} cores when this run began: others were busy, and its figures, "
        "the absolute ones above all, are not to be relied on"
    )


def filesystem(folder: Path) -> str:
    """The kind of file system under a folder, as the kernel names it; "" where it does not say."""
    try:
        mounts = [entry.split()[1:3] for entry in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    inside = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(inside)[1] if inside else ""


def write_json(path: Path, about: dict[str, Any], figures: Sequence[Figure]) -> None:
    """Write a run to a file."""
    document = {"machine": about, "figures": [figure.as_json() for figure in figures]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
