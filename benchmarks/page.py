"""Put a run into docs/performance.md: `python -m benchmarks.page figures.json`.

Only what stands between the two markers of its kind of database is written; the rest of the page is by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import amount, mark_text, unrest
from benchmarks.tools import ROOT

PAGE = ROOT / "docs" / "performance.md"


def markers(kind: str) -> tuple[str, str]:
    """Between which the table of a kind of database stands."""
    return f"<!-- figures of {kind}: begin -->", f"<!-- figures of {kind}: end -->"


def where(document: dict[str, Any]) -> str:
    """What the figures were measured on, as a sentence."""
    machine, loads = document["machine"], [figure["load_average"] for figure in document["figures"]]
    parts = [machine["database"], f"Python {machine['python']}", machine["system"], f"{machine['cores']} cores"]
    if machine["filesystem"]:
        parts.append(machine["filesystem"])
    warning = unrest(machine)
    told = f" **Warning: {warning}.**" if warning else ""
    return f"{', '.join(parts)}; load average {min(loads)} to {max(loads)} while it ran.{told}"


def table(document: dict[str, Any]) -> str:
    """The machine, and every figure, as Markdown."""
    figures = document["figures"]
    marked = [figure for figure in figures if figure["mark"]]
    reached = sum(bool(figure["reached"]) for figure in marked)
    lines = [
        f"{where(document)}{f' {reached} of {len(marked)} marks reached.' if marked else ''}",
        "",
        "| figure | measured | limit | ratio | mark | reached |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for figure in figures:
        title = figure["title"]
        limit = f"{amount(figure['limit'], figure['unit'])}" if figure["limit"] is not None else ""
        lines.append(
            f"| {'… ' + title.strip() if title.startswith(' ') else title} | {amount(figure['value'], figure['unit'])} "
            f"| {limit} | {'' if figure['ratio'] is None else format(figure['ratio'], '.2f')} "
            f"| {'' if figure['mark'] is None else mark_text(figure['mark'], figure['unit'])} "
            f"| {'' if figure['reached'] is None else 'yes' if figure['reached'] else '**missed**'} |"
        )
    return "\n".join(lines)


def publish(document: dict[str, Any], page: Path) -> None:
    """Write the table into the page, between the markers."""
    write_between(*markers(document["machine"]["kind"]), table(document), page)


def write_between(begin: str, end: str, text: str, page: Path) -> None:
    """Replace what stands in the page between two lines."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    publish(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), PAGE)
