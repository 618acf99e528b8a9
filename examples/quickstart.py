"""A tour of embedq on real work: index the source files of Python's own standard library, a job a file.

    python examples/quickstart.py              # in a temporary folder, gone at the end
    python examples/quickstart.py some/folder  # keeps some/folder/queue.db, to look into afterwards

Read it from top to bottom. It ends by itself after some seconds.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
import tempfile
import time
import tokenize
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import tenacity

import embedq

STDLIB = Path(sysconfig.get_paths()["stdlib"])
# Tests, tools with windows, and what pip put there are left out.
LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "ensurepip"}


def source_files() -> list[str]:
    """The files to index, relative to the standard library."""
    found = (path.relative_to(STDLIB) for path in STDLIB.rglob("*.py"))
    return sorted(str(path) for path in found if not LEFT_OUT & set(path.parts))


# --- 1. Jobs are functions. The decorator gives one a name in the queue, and its options. -----------------------------

# A failed job runs again. The waits are tenacity's strategies; without a policy it is 10 attempts in two hours.
hiccups = embedq.Retry(attempts=3, wait=tenacity.wait_fixed(0.5), retry_on=(OSError,))


@embedq.job(queue="index", retry=hiccups, timeout=30)
def index_file(file: str) -> dict[str, Any]:
    """Parse one file. Arguments and results are stored as JSON, so they are small and plain."""
    if file.startswith("json") and embedq.current_job().attempt == 1:
        # A disk that fails at the first try. The job is `retrying` for half a second, and then it succeeds.
        raise OSError(f"could not read {file} (on purpose)")
    with tokenize.open(STDLIB / file) as source:
        text = source.read()
    nodes = list(ast.walk(ast.parse(text)))
    kinds = Counter(type(node) for node in nodes)
    return {
        "lines": len(text.splitlines()),
        "functions": kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        "classes": kinds[ast.ClassDef],
        "names": Counter(node.id for node in nodes if isinstance(node, ast.Name)).most_common(50),
    }


@embedq.job
def add_up(job_ids: list[int]) -> dict[str, Any]:
    """Add up the results of other jobs. Any process can get a handle on a job by its id."""
    results = [embedq.default_app().job(job_id).result() for job_id in job_ids]
    names: Counter[str] = Counter()
    for result in results:
        names.update(dict(result["names"]))
    totals = {kind: sum(result[kind] for result in results) for kind in ("lines", "functions", "classes")}
    return {"files": len(results), **totals, "names": names.most_common(5)}


@embedq.job
def print_totals(totals: dict[str, Any]) -> None:
    """The continuation. It gets what `add_up` returned."""
    print("totals: {files:,} files, {lines:,} lines, {functions:,} functions, {classes:,} classes".format(**totals))
    print("most used names:", ", ".join(f"{name} ({count:,})" for name, count in totals["names"]))


def greet(asked_at: float) -> None:
    """Not decorated: any function that can be imported may be enqueued."""
    print(f"delayed job: due in 1.5 s, it ran after {time.time() - asked_at:.2f} s")


def pulse() -> None:
    """The recurring job: the queue at a glance."""
    counts = embedq.default_app().stats().counts
    print("pulse:", ", ".join(f"{count} {state}" for state, count in counts.items() if count), flush=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    # --- 2. Start, once, where the app starts up: ten worker threads on a SQLite file, the most urgent queue first. ---
    with embedq.start(folder / "queue.db", queues=["default", "index"]):
        # --- 3. Enqueue. When this returns the jobs are on the disk, and survive a crash. -----------------------------
        files = source_files()
        jobs = embedq.enqueue_many([index_file.call(file) for file in files])  # all of them, or none
        embedq.enqueue_in(timedelta(seconds=1.5), greet, time.time())
        embedq.enqueue(lambda: print(f"lambda: it took along that there are {len(files)} files"))
        embedq.recurring("pulse", embedq.every(seconds=1), pulse)  # or a cron expression: "30 2 * * *"

        # --- 4. Wait, if needed. A web app would keep the id, and read the result later. ------------------------------
        for job in jobs:
            job.wait(timeout=120)

        # --- 5. Continue: a job that starts when another has succeeded, here with its result. -------------------------
        sums = add_up.enqueue([job.id for job in jobs])
        sums.then(print_totals, embedq.PARENT_RESULT).result(timeout=30)  # raises if it failed

        retried = sum(len(job.attempts()) > 1 for job in jobs)
        print(f"retries: {retried} jobs failed at first and succeeded at the second attempt")
        embedq.remove_recurring("pulse")  # it is stored as well, and would run again after the next start
    # --- 6. Leaving the block stops the workers in good order; so does the end of the process. ------------------------
    print(f"done in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))
