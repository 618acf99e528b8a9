"""Three tenants on one queue: one imports 100,000 rows, one sends mails, one calls an API that allows few calls.

    python examples/tenants.py                            # SQLite, in a temporary folder
    python examples/tenants.py postgresql:///an_empty_db  # or mysql://…; EMBEDQ_URL does the same

Two processes work on it, and one of them is killed with SIGKILL in the middle. The script measures that the mails pass
the rows, that the API never has to refuse a call, and that the jobs of the killed process run again. It ends with 1 if
one of these does not hold. The rows are not all imported: the script ends when it has measured enough.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import embedq

ROWS, CALLS, MAILS = 100_000, 300, 16
# What the API allows in any two seconds, and what is set. embedq counts the start of a job; its call comes some
# milliseconds later, and on a busy machine not always the same number of them. The difference is for that.
WINDOW, ALLOWED = 2.0, 30
API = embedq.limit("weather-api", rate=embedq.Rate(20, per=WINDOW))
# The longest that a mail may wait, in seconds, also when it was just claimed by the process that is killed.
A_MOMENT = 5.0
FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()  # the workers get its path; see `start_worker`


class Line(NamedTuple):
    """A line of the ledger: a job began or ended."""

    event: str
    task: str
    job: int
    pid: int
    at: float


def note(event: str, task: str) -> None:
    """Append a line to the ledger. Once written it is the kernel's, and no kill takes it back."""
    with (FOLDER / "ledger").open("a") as ledger:
        ledger.write(f"{event} {task} {embedq.current_job().id} {os.getpid()} {time.time()}\n")


@embedq.job(fair_by="tenant")
def import_row(tenant: str, row: int) -> None:
    """One of very many. `fair_by` lets the tenants take turns."""
    note("began", "row")
    time.sleep(0.05)
    note("ended", "row")


@embedq.job(fair_by="tenant")
def send_mail(tenant: str, number: int) -> None:
    """One of few."""
    note("began", "mail")
    note("ended", "mail")


@embedq.job(limits=[API])
def call_api(port: int) -> None:
    """A call of the API, which answers 429 if it is called too often."""
    note("began", "call")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        answer.read()
    note("ended", "call")


class WeatherAPI(ThreadingHTTPServer):
    """The API: it answers as many calls in any two seconds as it allows, and refuses the others."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()
        self.calls = self.most = self.refused = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def admit(self) -> bool:
        """Count a call; return whether it is allowed."""
        with self._lock:
            now = time.monotonic()
            while self._recent and self._recent[0] <= now - WINDOW:
                self._recent.popleft()
            self._recent.append(now)
            self.calls += 1
            self.most = max(self.most, len(self._recent))
            self.refused += len(self._recent) > ALLOWED
            return len(self._recent) <= ALLOWED


class _Answer(BaseHTTPRequestHandler):
    server: WeatherAPI

    def do_GET(self) -> None:
        self.send_response(200 if self.server.admit() else 429)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """It writes nothing."""


def work(url: str) -> None:
    """What a worker process does: run jobs until its standard input ends, so that it never outlives the main one."""
    with embedq.start(url, workers=4):
        sys.stdin.read()


def start_worker(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """This script again, as a worker."""
    return subprocess.Popen([sys.executable, __file__, url, str(folder)], stdin=subprocess.PIPE)


class Ledger:
    """What the jobs wrote."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger"

    def lines(self, event: str, *, task: str | None = None, pid: int | None = None) -> list[Line]:
        """The lines of an event, of all tasks and processes or of one, in order."""
        words = map(str.split, self._file.read_text().splitlines() if self._file.exists() else ())
        lines = (Line(event, task, int(job), int(pid), float(at)) for event, task, job, pid, at in words)
        return [line for line in lines if line.event == event and task in (None, line.task) and pid in (None, line.pid)]

    def running(self, pid: int) -> set[int]:
        """The jobs that this process began and has not ended."""
        return {line.job for line in self.lines("began", pid=pid)} - {line.job for line in self.lines("ended", pid=pid)}


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for up to a minute."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            sys.exit("it takes too long; something is wrong")
        time.sleep(0.02)


class Killed(NamedTuple):
    """A process that was killed: when, and which jobs it ran."""

    pid: int
    at: float
    jobs: set[int]

    def back(self, ledger: Ledger) -> bool:
        """Whether all its jobs have run again, to their end."""
        return self.jobs <= {line.job for line in ledger.lines("ended") if line.pid != self.pid}


def kill(victim: subprocess.Popen[bytes], ledger: Ledger) -> Killed:
    """kill -9, while it runs jobs."""
    wait_until(lambda: bool(ledger.running(victim.pid)))
    victim.kill()
    victim.wait()
    return Killed(victim.pid, time.time(), ledger.running(victim.pid))


def measure(url: str, folder: Path, workers: list[subprocess.Popen[bytes]]) -> tuple[list[float], Killed]:
    """Send mails, with a kill in the middle; return how long each waited for its start, and what was killed."""
    ledger = Ledger(folder)
    wait_until(lambda: all(ledger.lines("began", pid=worker.pid) for worker in workers))
    waits: list[float] = []
    for number in range(MAILS):
        if number == MAILS // 2:
            killed = kill(workers.pop(0), ledger)
            workers.append(start_worker(url, folder))
        sent_at = time.time()
        mail = send_mail.enqueue("acme", number)
        mail.wait(timeout=60)
        waits.append(next(line.at for line in ledger.lines("began", task="mail") if line.job == mail.id) - sent_at)
        time.sleep(0.25)
    wait_until(lambda: killed.back(ledger))
    return waits, killed


def report(ledger: Ledger, api: WeatherAPI, waits: list[float], killed: Killed, seconds: float) -> list[str]:
    """Print what was measured; return what does not hold."""
    left = ROWS - len({line.job for line in ledger.lines("began", task="row")})
    per_second = (ROWS - left) / seconds
    print(
        f"{MAILS} mails of acme started after {statistics.median(waits):.3f} s (median), {max(waits):.3f} s (longest)"
    )
    print(f"behind the {left:,} rows that still waited it would have been {left / per_second:,.0f} s")
    print(f"the API was called {api.calls} times, at most {api.most} times in {WINDOW:g} s; it refused {api.refused}")
    again = [line.at for line in ledger.lines("began") if line.job in killed.jobs and line.pid != killed.pid]
    took = max(again) - killed.at
    print(f"killed process {killed.pid} while it ran {len(killed.jobs)} jobs; all had begun again {took:.2f} s later")
    claims = {
        f"each mail starts within {A_MOMENT:g} s": max(waits) <= A_MOMENT,
        "most of the rows still wait": left > ROWS / 2,
        "the API refuses no call": api.refused == 0,
        "the API is called, and calls wait for their time": WINDOW < api.calls < CALLS,
        "the killed process ran jobs": bool(killed.jobs),
    }
    return [claim for claim, holds in claims.items() if not holds]


def main(url: str, folder: Path) -> int:
    # This process only enqueues and looks; `connect` starts no workers.
    app = embedq.connect(url)
    if any(app.stats().counts.values()):
        sys.exit("this database has jobs already; pass the URL of an empty one")
    began = time.monotonic()
    embedq.enqueue_many([import_row.call("globex", row) for row in range(ROWS)])
    print(f"{ROWS:,} rows of globex were enqueued in {time.monotonic() - began:.1f} s; two processes start", flush=True)
    api = WeatherAPI()
    embedq.enqueue_many([call_api.call(api.server_port) for _ in range(CALLS)])
    began = time.monotonic()
    workers = [start_worker(url, folder), start_worker(url, folder)]
    try:
        waits, killed = measure(url, folder, workers)
        broken = report(Ledger(folder), api, waits, killed, time.monotonic() - began)
    finally:
        for worker in workers:
            worker.communicate()  # closes its standard input: it stops in good order
    print("\n".join(f"does not hold: {claim}" for claim in broken) or "all of this holds")
    return 1 if broken else 0


if __name__ == "__main__":
    if len(sys.argv) > 2:
        work(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            default = os.environ.get("EMBEDQ_URL", f"sqlite:///{temporary}/queue.db")
            sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else default, Path(temporary)))
