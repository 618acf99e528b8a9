"""How many jobs may run at once on threads, for a `Guard`: measured and decided ten times a second, while jobs run.

It measures how late a thread wakes up after a short sleep. To continue, that thread needs the interpreter's lock, like
a request whose database has responded; so both wait equally long. Time that it waits for a processor, because other
programs use all of them, is not caused by jobs and is subtracted, where the kernel reports it (Linux).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from embedq.flow.guard import Guard
from embedq.observability.log import get_logger
from embedq.process import supervision
from embedq.process.supervision import Supervised
from embedq.process.wakeup import WakeUp

logger = get_logger()

TICK_SECONDS = 0.01
WINDOW_SECONDS = 0.1
# How many calm windows in a row are needed before one more job may run at once.
CALM_WINDOWS = 3
# A window is calm below this part of the guard's delay. Between the two nothing changes.
CALM = 0.5


class ThreadThrottle:
    """Decides from what was measured. It uses neither threads nor clocks.

    Args:
        most: how many jobs run at once without a limit.
    Attributes:
        limit: how many may run at once now.
    """

    def __init__(self, guard: Guard, most: int) -> None:
        self._guard = guard
        self._most = most
        self._calm = 0
        self._closed_at = 0.0
        self.limit = most

    def step(self, *, delay: float, requests: bool, slow: bool, running: int, now: float) -> int:
        """Decide from one window.

        Args:
            delay: how long a thread waited for its turn, in seconds.
            requests: whether there is traffic.
            slow: whether it is slower than the guard's `latency`.
            running: how many jobs run here, on threads and on the event loop.
            now: the time on a monotonic clock, in seconds.
        Returns:
            The limit. It halves while threads wait too long, and grows by one after calm windows. It is 0 only while
            there are requests, and for no longer than `one_job_every`; then one job may start.
        """
        if self.limit == 0:
            if not requests or now - self._closed_at >= self._guard.one_job_every:
                self.limit, self._calm = 1, 0
        elif delay > self._guard.delay or slow:
            self._calm = 0
            # Without running jobs, something else causes the delay.
            if running:
                self._lower(min(self.limit, running) // 2, requests, now)
        elif delay < self._guard.delay * CALM:
            self._calm += 1
            if self._calm >= CALM_WINDOWS:
                self.limit, self._calm = min(self._most, self.limit + 1), 0
        else:
            self._calm = 0
        return self.limit

    def _lower(self, limit: int, requests: bool, now: float) -> None:
        self.limit = limit if requests else max(1, limit)
        self._closed_at = now

    @property
    def open(self) -> bool:
        """Whether no job is held back."""
        return self.limit == self._most


class Processor:
    """How long the thread that created this was ready to run and had no processor; 0 where that is not reported."""

    def __init__(self) -> None:
        try:
            self._descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = -1

    def waited(self) -> float:
        """Return the time in seconds, since the thread began."""
        if self._descriptor < 0:
            return 0.0
        try:
            # Nanoseconds it ran, nanoseconds it waited, turns.
            return int(os.pread(self._descriptor, 64, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def __enter__(self) -> Processor:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class Governor:
    """The thread that measures. It sleeps while no job runs.

    Args:
        most: how many jobs run at once without a limit.
        running: returns how many jobs run now.
        apply: called with each new limit, in this thread.
    """

    def __init__(self, guard: Guard, *, most: int, running: Callable[[], int], apply: Callable[[int], None]) -> None:
        self._guard = guard
        self._running = running
        self._apply = apply
        self._throttle = ThreadThrottle(guard, most)
        self._wake = WakeUp()
        self._sleeping = False
        self._stopping = False
        self._thread: Supervised | None = None
        self._interval_before: float | None = None

    def start(self) -> None:
        """Start the thread, and shorten the interpreter's switch interval."""
        interval, current = self._guard.switch_interval, sys.getswitchinterval()
        if interval is not None and interval < current:
            self._interval_before = current
            sys.setswitchinterval(interval)
        # In the child of a fork they are the requests that the parent serves.
        self._guard.requests.forget()
        self._thread = supervision.start("embedq-guard", self._loop)

    def stop(self) -> None:
        """End the thread, and restore the interpreter's switch interval."""
        self._stopping = True
        self._wake.call()
        if self._thread is not None:
            self._thread.join()
        if self._interval_before is not None:
            sys.setswitchinterval(self._interval_before)
            self._interval_before = None

    def jobs_came(self) -> None:
        """Start to measure: jobs are about to run. Any thread may call it."""
        if self._sleeping:
            self._wake.call()

    def _loop(self) -> None:
        with Processor() as processor:
            self._govern(processor)

    def _govern(self, processor: Processor) -> None:
        while not self._stopping:
            if not self._running() and self._throttle.open:
                self._sleep()
                continue
            delay = self._measure(processor)
            before, opened = self._throttle.limit, self._throttle.open
            now, requests, latency = time.monotonic(), self._guard.requests, self._guard.latency
            limit = self._throttle.step(
                delay=delay,
                requests=requests.present(now),
                slow=latency is not None and requests.slow(now, latency),
                running=self._running(),
                now=now,
            )
            if limit != before:
                self._apply(limit)
                if opened:
                    logger.info("threads wait %.1f ms for their turn; jobs on threads are held back", delay * 1000)
                elif self._throttle.open:
                    logger.info("jobs on threads are held back no more")

    def _sleep(self) -> None:
        # Set before `running` is read: `jobs_came` wakes this thread after that.
        self._sleeping = True
        if not self._running() and not self._stopping:
            self._wake.sleep(threading.TIMEOUT_MAX)
        self._sleeping = False

    def _measure(self, processor: Processor) -> float:
        """Return how long a thread waited for its turn during a window, in seconds: the median."""
        delays = []
        until = time.monotonic() + WINDOW_SECONDS
        while (now := time.monotonic()) < until:
            queued = processor.waited()
            if self._wake.sleep(TICK_SECONDS):
                if self._stopping:
                    return 0.0
                continue
            late = time.monotonic() - now - TICK_SECONDS
            delays.append(max(0.0, late - (processor.waited() - queued)))
        return sorted(delays)[len(delays) // 2] if delays else 0.0
