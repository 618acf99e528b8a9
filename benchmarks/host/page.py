"""Put a run of the measure `host` into docs/performance.md: `python -m benchmarks.host.page figures.json`."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.host.cases import CASES
from benchmarks.page import PAGE, markers, where, write_between
from benchmarks.report import amount

COLUMNS = (("p50", "ms"), ("p99", "ms"), ("requests", "requests/s"))


def table(document: dict[str, Any]) -> str:
    """The machine, and for each server a row a case: latency, how many requests there can be, and the jobs done."""
    found: defaultdict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
    for figure in document["figures"]:
        server, case, field = figure["series"]
        found[server][case, field] = figure
    lines = [where(document)]
    for server, figures in found.items():
        lines += [
            "",
            f"| {server} | p50 | × bare | p99 | × bare | requests at most | × bare | jobs meanwhile |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for name in dict.fromkeys(case for case, _ in figures if case in CASES):
            cells = [CASES[name].title]
            for field, unit in COLUMNS:
                figure = figures[name, field]
                ratio = figure["ratio"]
                cells += [amount(figure["value"], unit), "" if ratio is None else f"{ratio:.2f}"]
            jobs = figures.get((name, "jobs"))
            cells.append("" if jobs is None else amount(jobs["value"], "jobs/s"))
            lines.append(f"| {' | '.join(cells)} |")
        memory, threads = figures["added", "resident"]["value"], figures["added", "threads"]["value"]
        lines += ["", f"Added by embedq when idle: {amount(memory, 'MB')} of memory, {threads:.0f} threads."]
    return "\n".join(lines)


if __name__ == "__main__":
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    write_between(*markers("the host"), table(document), PAGE)
