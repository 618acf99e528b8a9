"""How many jobs may run at once on threads, for a `Guard`: measured and decided ten times a second, while jobs run.

What is measured is how late a thread wakes up that asked to sleep for a moment. To go on it needs the interpreter's
lock, like a request whose database has answered; so it waits just as long. What it waits for a processor, because other
programs want all of them, is no fault of the jobs and is taken off, where the kernel tells (Linux).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from embedq.guard import Guard
from embedq.wakeup import WakeUp

logger = logging.getLogger("embedq")

TICK_SECONDS = 0.01
WINDOW_SECONDS = 0.1
# So many calm windows in a row before one more job may run at once.
CALM_WINDOWS = 3
# What is below this part of the guard's delay is calm. Between the two nothing changes.
CALM = 0.5


class Throttle:
    """Decides. It is told what was measured, and knows neither threads nor clocks.

    Args:
        most: how many jobs run at once where nothing is in the way.
    Attributes:
        limit: how many may now.
    """

    def __init__(self, guard: Guard, most: int) -> None:
        self._guard = guard
        self._most = most
        self._calm = 0
        self._closed_at = 0.0
        self.limit = most

    def step(self, *, delay: float, requests: bool, slow: bool, running: int, now: float) -> int:
        """Take in one window.

        Args:
            delay: how long a thread waited for its turn, in seconds.
            requests: whether there is traffic.
            slow: whether it is slower than the guard's `latency`.
            running: how many jobs run here, on threads and on the event loop.
            now: seconds of a clock that is not set back.
        Returns:
            The limit. It halves while threads wait too long, and grows by one after a calm while. None may start only
            while there are requests, and for no longer than `one_job_every`; then one does.
        """
        if self.limit == 0:
            if not requests or now - self._closed_at >= self._guard.one_job_every:
                self.limit, self._calm = 1, 0
        elif delay > self._guard.delay or slow:
            self._calm = 0
            # What nobody does cannot be done less: where no job runs, others are in the way.
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
        """Whether nothing is held back."""
        return self.limit == self._most


class Processor:
    """How long the thread that made this was ready to run and had no processor. Where that is not told, it is 0."""

    def __init__(self) -> None:
        try:
            self._descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = -1

    def waited(self) -> float:
        """In seconds, since the thread began."""
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
    """The thread that measures. It rests while no job runs.

    Args:
        most: how many jobs run at once where nothing is in the way.
        running: how many jobs run now.
        apply: is given each new limit; called in this thread.
    """

    def __init__(self, guard: Guard, *, most: int, running: Callable[[], int], apply: Callable[[int], None]) -> None:
        self._guard = guard
        self._running = running
        self._apply = apply
        self._throttle = Throttle(guard, most)
        self._wake = WakeUp()
        self._resting = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._interval_before: float | None = None

    def start(self) -> None:
        """Start the thread, and make the interpreter's turns shorter."""
        wanted, there = self._guard.switch_interval, sys.getswitchinterval()
        if wanted is not None and wanted < there:
            self._interval_before = there
            sys.setswitchinterval(wanted)
        # In the child of a fork, those that the parent serves.
        self._guard.requests.forget()
        self._thread = threading.Thread(target=self._loop, name="embedq-guard", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and give back the turns."""
        self._stopping = True
        self._wake.call()
        if self._thread is not None:
            self._thread.join()
        if self._interval_before is not None:
            sys.setswitchinterval(self._interval_before)
            self._interval_before = None

    def jobs_came(self) -> None:
        """Jobs are about to run; any thread may say so."""
        if self._resting:
            self._wake.call()

    def _loop(self) -> None:
        with Processor() as processor:
            self._govern(processor)

    def _govern(self, processor: Processor) -> None:
        while not self._stopping:
            if not self._running() and self._throttle.open:
                self._rest()
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

    def _rest(self) -> None:
        # Raised before the look: who comes after it calls.
        self._resting = True
        if not self._running() and not self._stopping:
            self._wake.sleep(threading.TIMEOUT_MAX)
        self._resting = False

    def _measure(self, processor: Processor) -> float:
        """How long a thread waited for its turn during a window, in seconds: the median."""
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
