"""The programs that fork. Each prints what the test waits for; see `programs.py`."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable

import embedq
from tests.processes.jobs import note, run
from tests.processes.programs import report, wait_for_end_of_input

ENQUEUED_BY_A_CHILD = 20


def fork(child: Callable[[], None]) -> int:
    """Fork. The child runs the function; forked by the main thread, it leaves through the interpreter's exit."""
    in_main = threading.current_thread() is threading.main_thread()
    with warnings.catch_warnings():
        # From 3.12 on Python warns of forks in processes with threads. That they work is what is shown here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    try:
        child()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    if in_main:
        sys.exit(0)
    os._exit(0)


def wait_for_all(pids: list[int]) -> list[int]:
    """Wait for the children to end, and return their exit statuses."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def enqueue(app: embedq.EmbedQ, count: int = 1) -> list[embedq.JobHandle]:
    """Enqueue, and note how long the slowest took and what was acknowledged."""
    handles = []
    for _ in range(count):
        began_at = time.monotonic()
        handle = app.enqueue(run)
        note("acknowledged", job=handle.id, took=time.monotonic() - began_at, durable=True)
        handles.append(handle)
    return handles


def until_jobs_run_here(app: embedq.EmbedQ) -> None:
    """Until a job of one's own has run in this process."""
    deadline = time.monotonic() + 30
    while enqueue(app)[0].result(timeout=30) != os.getpid():
        assert time.monotonic() < deadline, "no job ran in the child"


def fork_before_start(url: str) -> None:
    """As a server does that loads the app first and then forks its workers; each of them starts embedq."""
    app = embedq.EmbedQ(url).connect()
    enqueue(app, ENQUEUED_BY_A_CHILD)

    def child() -> None:
        app.start()
        enqueue(app, ENQUEUED_BY_A_CHILD)
        until_jobs_run_here(app)
        assert app.stop()

    children = [fork(child) for _ in range(3)]
    enqueue(app, ENQUEUED_BY_A_CHILD)
    report(json.dumps(wait_for_all(children)))
    wait_for_end_of_input()


def fork_while_working(url: str, children: int, from_thread: bool) -> None:
    """Fork over and over, while threads enqueue and jobs run; the children enqueue at once and run jobs as well."""
    app = embedq.EmbedQ(url, workers=4).start()
    finished = threading.Event()

    def busy() -> None:
        while not finished.is_set():
            enqueue(app)

    writers = [threading.Thread(target=busy) for _ in range(3)]
    for writer in writers:
        writer.start()

    def child() -> None:
        enqueue(app, ENQUEUED_BY_A_CHILD)
        until_jobs_run_here(app)
        if from_thread:
            assert app.stop()

    statuses = []

    def fork_them() -> None:
        for _ in range(children):
            statuses.extend(wait_for_all([fork(child), fork(child)]))

    if from_thread:
        thread = threading.Thread(target=fork_them)
        thread.start()
        thread.join()
    else:
        fork_them()
    finished.set()
    for writer in writers:
        writer.join()
    # The end of the program leaves in the queue what has not begun.
    while app.count_jobs(state="ready") or app.count_jobs(state="running"):
        time.sleep(0.01)
    report(json.dumps(statuses))
    wait_for_end_of_input()


def fork_and_leave(url: str) -> None:
    """As a daemon does that starts first and then puts itself in the background: the parent goes, the child goes on."""
    app = embedq.EmbedQ(url, workers=2).start()
    enqueue(app, ENQUEUED_BY_A_CHILD)

    def child() -> None:
        enqueue(app, ENQUEUED_BY_A_CHILD)
        sys.stdin.readline()  # the parent is gone
        enqueue(app, ENQUEUED_BY_A_CHILD)
        until_jobs_run_here(app)
        report("done")

    report(fork(child))
    assert app.stop()


def fork_and_wait(url: str) -> None:
    """Fork a child that lives on and does nothing, and say its pid."""
    embedq.EmbedQ(url, workers=2).start()
    report(fork(wait_for_end_of_input))
    wait_for_end_of_input()


def fork_and_go_on(url: str) -> None:
    """Fork children that end at once, and go on."""
    embedq.EmbedQ(url, workers=2).start()
    report("ready")
    for line in sys.stdin:
        report(json.dumps(wait_for_all([fork(lambda: None) for _ in range(int(line))])))


def use_multiprocessing(url: str) -> None:
    """Have children of multiprocessing enqueue: they are made for one thing, and run no jobs."""
    app = embedq.EmbedQ(url, workers=2).start()
    context = multiprocessing.get_context("fork")
    release = context.Event()

    def target() -> None:
        enqueue(app, ENQUEUED_BY_A_CHILD)
        assert not app.started
        assert release.wait(30)
        assert not app.started

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        children = [context.Process(target=target) for _ in range(3)]
        for process in children:
            process.start()
    report(json.dumps([process.pid for process in children]))
    sys.stdin.readline()
    release.set()
    for process in children:
        process.join()
    report(json.dumps([process.exitcode for process in children]))
    wait_for_end_of_input()


def run_other_programs(url: str, times: int) -> None:
    """Start other programs, in every way that Python has, while jobs run."""
    app = embedq.EmbedQ(url, workers=4).start()
    for number in range(times):
        enqueue(app, 5)
        command = [sys.executable, "-c", f"print({number})"]
        assert subprocess.run(command, capture_output=True, check=True).stdout.strip() == str(number).encode()
        assert os.system("true") == 0
        assert wait_for_all([os.posix_spawn("/bin/true", ["true"], dict(os.environ))]) == [0]
        with warnings.catch_warnings():
            # A function to run in between makes Popen fork as os.fork does.
            warnings.simplefilter("ignore", DeprecationWarning)
            with subprocess.Popen(["true"], preexec_fn=os.getpid) as process:
                assert process.wait() == 0
    report("done")
    wait_for_end_of_input()
