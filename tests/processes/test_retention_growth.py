"""Under steady load the rows stop growing, and so does a file."""

from __future__ import annotations

import time

import embedq
from tests.databases import Home
from tests.processes.fleet import Fleet


def test_under_steady_load_rows_and_files_level_off(fleet: Fleet, queue: embedq.EmbedQ, home: Home) -> None:
    def measure() -> dict[str, int]:
        """Rows, and kilobytes where the database is a file."""
        rows = {
            name: home.execute(fleet.url, f"SELECT count(*) FROM embedq_{name}")[0][0] for name in ("jobs", "attempts")
        }
        return {**rows, **home.files(fleet.url)}

    kept = {"succeeded": 0.5, "dead": 0.5, "cancelled": 0.5}
    program = fleet.start("load", retention=kept, prune_seconds=0.5, workers=4, durability="normal")
    assert program.read_line() == "ready"
    early: list[dict[str, int]] = []
    late: list[dict[str, int]] = []
    began_at = time.monotonic()
    while (elapsed := time.monotonic() - began_at) < 9:
        if elapsed > 1.5:
            (early if elapsed < 4 else late).append(measure())
        time.sleep(0.2)
    assert program.end() == 0

    done = len(fleet.events("end"))
    before = {name: max(measured[name] for measured in early) for name in early[0]}
    after = {name: max(measured[name] for measured in late) for name in before}
    print(f"{done} jobs; at most {before} after 1.5 to 4 s, {after} after 4 to 9 s")
    assert done > 1000
    # SQLite starts over in its log every 4,000 pages of 4 KB.
    assert after.pop("log", 0) < 3 * 16_000
    for name, most in after.items():
        assert most <= 1.5 * before[name] + 100, name
    # All of it would be many times as much.
    assert after["jobs"] < done / 3
