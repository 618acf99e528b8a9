"""Kill a worker process in the middle of its work, twice, and count: nothing lost, and nothing run twice at once.

    python examples/crash.py

Two processes work on one queue. Each is killed with SIGKILL, which nothing can catch, while it runs jobs; a new process
takes its place. Every job writes a line when it begins and one when it ends, and holds a lock in between that the
kernel frees when the process dies: a job that ran twice at the same time would find its lock taken, and report it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

import embedq

JOBS = 400
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()  # the workers get its path; see `start_worker`


def note(event: str, number: int) -> None:
    """Append a line to the ledger. Once written it is the kernel's, and no kill takes it back."""
    with (FOLDER / "ledger").open("a") as ledger:
        ledger.write(f"{event} {number}\n")


@embedq.job
def step(number: int) -> None:
    """One job: a tenth of a second between its two lines."""
    try:
        with FileLock(FOLDER / f"{number}.lock", blocking=False):
            note("began", number)
            time.sleep(0.1)
            note("ended", number)
    except Timeout:
        note("twice-at-once", number)


def work() -> None:
    """What a worker process does: run jobs until its standard input ends, so that it never outlives the main one."""
    with embedq.start(FOLDER / "queue.db", workers=8):
        sys.stdin.read()


def start_worker(folder: Path) -> subprocess.Popen[bytes]:
    """This script again, as a worker."""
    return subprocess.Popen([sys.executable, __file__, str(folder)], stdin=subprocess.PIPE)


def read(folder: Path, event: str) -> list[int]:
    """The jobs that wrote such a line, in order."""
    lines = (folder / "ledger").read_text().splitlines() if (folder / "ledger").exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(event)]


def wait_until(condition: Callable[[], bool]) -> float:
    """Wait for up to 30 seconds; return how long it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + 30:
            sys.exit("it takes too long; something is wrong")
        time.sleep(0.02)
    return time.monotonic() - began


def kill(victim: subprocess.Popen[bytes], app: embedq.EmbedQ) -> None:
    """kill -9, and see how soon the others notice."""
    victim.kill()
    victim.wait()
    seconds = wait_until(lambda: all(server.pid != victim.pid for server in app.servers()))
    print(f"killed process {victim.pid}; {seconds:.2f} s later its jobs were back in the queue", flush=True)


def main(folder: Path) -> int:
    # This process only enqueues and looks; `connect` starts no workers.
    app = embedq.connect(folder / "queue.db")
    jobs = embedq.enqueue_many([step.call(number) for number in range(JOBS)])
    print(f"{len(jobs)} jobs of a tenth of a second are enqueued; two processes with 8 workers each start", flush=True)
    workers = [start_worker(folder), start_worker(folder)]
    for third in (1, 2):
        wait_until(lambda done=third * JOBS // 3: len(read(folder, "ended")) >= done)  # type: ignore[misc]
        kill(workers.pop(0), app)
        workers.append(start_worker(folder))
    states = Counter(job.wait(timeout=60) for job in jobs)
    for worker in workers:
        worker.communicate()  # closes its standard input: it stops in good order

    began, ended = read(folder, "began"), read(folder, "ended")
    lost, overlapping = set(range(JOBS)) - set(ended), read(folder, "twice-at-once")
    print(f"enqueued {JOBS}, succeeded {states[embedq.JobState.SUCCEEDED]}, lost {len(lost)}")
    print(f"cut off by a kill {len(began) - len(ended)}, and run again from the start")
    # At least once: a kill can come after a job's last line and before its outcome is in the database.
    print(f"done, but killed before that was recorded {len(ended) - len(set(ended))}, and so done twice")
    print(f"run twice at once {len(overlapping)}")
    return 1 if lost or overlapping or states != {embedq.JobState.SUCCEEDED: JOBS} else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work()
    else:
        with tempfile.TemporaryDirectory() as temporary:
            sys.exit(main(Path(temporary)))
