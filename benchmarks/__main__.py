"""`python -m benchmarks`: run the measures, print the table as it grows, write JSON."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.measures import MEASURES, possible, usual
from benchmarks.places import Site, open_site
from benchmarks.report import HEADER, Figure, line, load_average, machine, row, unrest, write_json
from benchmarks.scale import FULL, QUICK, Scale

PATIENCE_FOR_CALM_SECONDS = 600


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for. Always ends well: a missed mark is a finding, not an error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="embedq-benchmarks-", dir=options.folder) as name, ExitStack() as stack:
        try:
            site = stack.enter_context(open_site(options.database, Path(name)))
        except Exception as error:
            parser.error(f"--database: {error}")
        names = options.only or usual(site.kind)
        impossible = sorted(set(names).difference(possible(site.kind)))
        if impossible:
            parser.error(f"{', '.join(impossible)} cannot be measured on {site.kind}")
        about = machine(site.kind, site.about, site.filesystem_of)
        print("  ".join(f"{key} {value}" for key, value in about.items()))
        if warning := unrest(about):
            print(f"\n!!! WARNING: {warning}. See --calm.\n", file=sys.stderr)
        print(
            "Each figure is the median of its rounds; the limit was measured by turns with it, and the ratio is the\n"
            "median of the rounds' own. Below a load average of about 1 the absolute figures mean something too.\n"
        )
        figures: list[Figure] = []
        try:
            for figure in run(names, _scale(options, site.kind), site, calm=options.calm):
                figures.append(figure)
        finally:
            # Also when it is ended half-way: what was measured was measured.
            if options.json is not None:
                about["load_average_at_end"] = load_average()
                write_json(options.json, about, figures)
    marked = [figure for figure in figures if figure.mark is not None]
    missed = [figure for figure in marked if not figure.reached]
    print(f"\n{len(marked) - len(missed)} of {len(marked)} marks reached; load average at the end: {load_average()}")
    if options.json is not None:
        print(f"written to {options.json}")


def _scale(options: argparse.Namespace, kind: str) -> Scale:
    scale = QUICK if options.quick else FULL
    durability = options.durability or ("both" if kind == "sqlite" else "full")
    if durability != "both":
        scale = replace(scale, durabilities=(durability,))
    if options.repeat is not None:
        scale = replace(
            scale,
            rounds=options.repeat,
            enqueue_rounds=8 * options.repeat,
            starts=options.repeat,
            host_rounds=options.repeat,
        )
    return scale


def run(names: Sequence[str], scale: Scale, site: Site, *, calm: float | None = None) -> Iterator[Figure]:
    """Run measures by name, printing each figure when it is there."""
    print(line(HEADER))
    for name in names:
        wait_for_calm(calm)
        began = time.monotonic()
        try:
            for figure in MEASURES[name](scale, site):
                print(row(figure), flush=True)
                yield figure
        except Exception:
            # The others are worth having all the same.
            traceback.print_exc()
            print(f"{name} could not be measured; see the traceback", flush=True)
        print(f"    [{name}: {time.monotonic() - began:.0f} s, load average {load_average()}]", flush=True)
        # Some million rows are a gigabyte; the next measure need not find them on the disk.
        site.clear()


def wait_for_calm(load: float | None) -> None:
    """Wait until the machine's load average has fallen below `load`, for ten minutes at most."""
    deadline = time.monotonic() + PATIENCE_FOR_CALM_SECONDS
    while load is not None and load_average() >= load and time.monotonic() < deadline:
        time.sleep(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure embedq beside what a plain loop over the database's driver reaches.",
    )
    server = "PostgreSQL or MySQL/MariaDB, as postgresql://… or mysql://…; what the run makes there is named "
    server += "embedq_benchmarks_… and dropped at its end. SQLite unless given"
    parser.add_argument("--database", metavar="URL", help=server)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--durability", choices=("normal", "full", "both"), help="both unless given; on a server full")
    parser.add_argument("--quick", action="store_true", help="small sizes: under a minute")
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="rounds of each measure; 5 unless given, 2 with --quick"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure, round by round, to FILE")
    calm = "before each measure, wait up to ten minutes for a load average below LOAD"
    parser.add_argument("--calm", type=float, metavar="LOAD", help=calm)
    parser.add_argument("--folder", type=Path, help="where SQLite's files are made: a disk, not a RAM disk")
    return parser


if __name__ == "__main__":
    # Ended from outside, it still removes its databases.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
