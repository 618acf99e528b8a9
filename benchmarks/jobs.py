"""The jobs that the measures run. Importing this module registers them, in the children too."""

from __future__ import annotations

import itertools
import queue
import threading
import time

import embedq


class Tally:
    """Counts runs on many threads, and tells one waiting thread when all that were expected have been."""

    def __init__(self) -> None:
        self.expect(0)

    def expect(self, runs: int) -> None:
        """Count anew."""
        self._expected = runs
        self._runs = itertools.count(1)
        self._complete = threading.Event()

    def add(self) -> None:
        # next() on a count is one step of the interpreter: no lock, so counting costs a job next to nothing.
        if next(self._runs) == self._expected:
            self._complete.set()

    def wait(self, seconds: float) -> None:
        """Until all have run. TimeoutError if they have not by then."""
        if not self._complete.wait(seconds):
            raise TimeoutError(f"the jobs did not all run within {seconds:g} s")


TALLY = Tally()
# What `stamp` and `due` noted, in seconds. A queue, so that who waits for it sleeps and takes no time from the job.
NOTED: queue.SimpleQueue[float] = queue.SimpleQueue()


@embedq.job(name="benchmarks.noop")
def noop() -> None:
    """Nothing, but be counted."""
    TALLY.add()


@embedq.job(name="benchmarks.noop_of_key", concurrency=embedq.Limit(5, per="key"))
def noop_of_key(key: int) -> None:
    """`noop`, under a limit."""
    TALLY.add()


def unregistered() -> None:
    """The same, as a function that was never declared a job: its rows are signed, and checked when they run."""
    TALLY.add()


@embedq.job(name="benchmarks.stamp")
def stamp(called_at: int) -> None:
    """Note how long ago it was enqueued.

    Args:
        called_at: nanoseconds of the monotonic clock, which is one for all processes of a machine.
    """
    NOTED.put((time.monotonic_ns() - called_at) / 1e9)


@embedq.job(name="benchmarks.due")
def due(run_at: int) -> None:
    """Note how late it is.

    Args:
        run_at: nanoseconds since the epoch.
    """
    NOTED.put((time.time_ns() - run_at) / 1e9)
