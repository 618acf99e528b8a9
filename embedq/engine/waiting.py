"""Waiting for jobs to end: one thread reads the states of all jobs that this process waits for.

    with engine.waiting.thread(job_id, deadline) as wait: …     `handle.wait`, `handle.result`
    with engine.waiting.coroutine(job_id, deadline, …) as wait: …    `handle.aresult`

The dispatcher reports jobs that end in this process, so their states are not read. One thread reads the states of all
others in one query, less often the longer they have been waited for. It starts with the first wait, also in processes
that run no jobs, and ends some time after the last wait, or with the app.

That thread also reads the results for coroutines, so that a thousand of them do not occupy the threads that enqueue for
the event loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from embedq.engine.waits import CoroutineWait, LoopCalls, ThreadWait, Wait
from embedq.errors import StorageError
from embedq.job import ENDED, JobState
from embedq.observability.log import get_logger
from embedq.process import supervision
from embedq.process.supervision import Supervised
from embedq.process.wakeup import WakeUp
from embedq.storage import inspect
from embedq.storage.base import Database
from embedq.storage.inspect.details import StoredOutcome

if TYPE_CHECKING:
    import asyncio

logger = get_logger()

# Waits that are due within this time of each other are served by one read.
TOGETHER_SECONDS = 0.01
# The pause after a failed read.
AFTER_ERROR_SECONDS = 0.5
# The thread ends when nothing has been waited for during this time.
LINGER_SECONDS = 5.0
# How long the end of the app waits for the thread, which may be in a read that takes longer.
JOIN_SECONDS = 2.0
# Jobs of one read of states, and of one read of results, which may be large.
STATES_PER_READ = 1_000
RESULTS_PER_READ = 50


class JobWaiter:
    """All waits for jobs of one app in this process.

    Args:
        database: returns the open database. NotStartedError ends every wait.
        running: returns the jobs that this process runs or has claimed; `ended` is called when they end.
        is_open: whether a database still belongs to the app, and will be closed with it.
    """

    def __init__(
        self,
        database: Callable[[], Database],
        running: Callable[[], Collection[int]],
        is_open: Callable[[Database], bool],
    ) -> None:
        self._database = database
        self._is_open = is_open
        self._running = running
        # Re-entrant: a finalizer in the thread that has the lock can cancel a job, and call this class.
        self._lock = threading.RLock()
        self._waits: dict[int, list[Wait]] = {}
        # Coroutines whose job was reported as ended.
        self._ended_waits: dict[CoroutineWait, None] = {}
        self._thread: Supervised | None = None
        self._wake = WakeUp()
        self._sleeps_until = 0.0
        # The app was stopped, and nothing has been waited for since: the thread ends at once when it is idle.
        self._app_ended = False

    @property
    def number(self) -> int:
        """The number of threads and coroutines that wait."""
        with self._lock:
            return sum(map(len, self._waits.values()))

    @contextmanager
    def thread(self, job_id: int, deadline: float | None) -> Iterator[ThreadWait]:
        """Wake this thread, inside the `with`, when the job has ended or may have."""
        wait = ThreadWait(job_id, deadline)
        self._add(wait)
        try:
            yield wait
        finally:
            self._remove(wait)

    @contextmanager
    def coroutine(
        self,
        job_id: int,
        deadline: float | None,
        loop: asyncio.AbstractEventLoop,
        read: Callable[[StoredOutcome | None], Any],
    ) -> Iterator[CoroutineWait]:
        """Give a coroutine the value that `read` makes of the job's outcome; None stands for a missing job."""
        wait = CoroutineWait(job_id, deadline, loop, read)
        self._add(wait)
        try:
            yield wait
        finally:
            self._remove(wait)
            wait.abandon()

    def ended(self, job_ids: Sequence[int]) -> None:
        """Note that these jobs have ended, or may have."""
        if not self._waits:
            return
        found = False
        with self._lock:
            for job_id in job_ids:
                for wait in self._waits.get(job_id, ()):
                    if isinstance(wait, ThreadWait):
                        wait.wake.call()
                    elif isinstance(wait, CoroutineWait):
                        self._ended_waits[wait] = None
                        found = True
        if found:
            self._wake.call()

    def ended_all(self) -> None:
        """Note that this process runs no more jobs, so `ended` will not be called for any."""
        self.ended(list(self._waits))

    def end(self, *, waits_too: bool) -> None:
        """Note that the app was stopped: the thread ends with the last wait, or at once if there is none.

        Args:
            waits_too: the database no longer belongs to the app; every wait ends with NotStartedError at once.
        """
        with self._lock:
            thread = self._thread
            if waits_too:
                for wait in [wait for waits in self._waits.values() for wait in waits]:
                    wait.read_at = 0.0
            ends = waits_too or not self._waits
            self._app_ended = True
        self._wake.call()
        if ends and thread is not None and thread.ident != threading.get_ident():
            thread.join(JOIN_SECONDS)

    def _add(self, wait: Wait) -> None:
        with self._lock:
            self._app_ended = False
            self._waits.setdefault(wait.job_id, []).append(wait)
            if self._thread is None or not self._thread.is_alive():
                self._start_thread(wait)
            late = self._sleeps_until > wait.read_at + TOGETHER_SECONDS
        if late:
            self._wake.call()

    def _start_thread(self, wait: Wait) -> None:
        try:
            thread = supervision.start("embedq-waiting", self._work)
        except RuntimeError:
            if not isinstance(wait, ThreadWait):
                self._forget(wait)
                raise
            wait.alone = True
        else:
            self._thread = thread

    def _remove(self, wait: Wait) -> None:
        with self._lock:
            self._forget(wait)
            last = self._app_ended and not self._waits
        if last:
            self._wake.call()

    def _forget(self, wait: Wait) -> None:
        waits = self._waits.get(wait.job_id)
        if waits and wait in waits:
            waits.remove(wait)
            if not waits:
                del self._waits[wait.job_id]
        if isinstance(wait, CoroutineWait):
            self._ended_waits.pop(wait, None)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        idle_since = time.monotonic()
        while True:
            try:
                self._read_due()
            except BaseException:
                # Nothing may end this thread while there are waits.
                logger.exception("reading the jobs that are waited for failed")
                time.sleep(AFTER_ERROR_SECONDS)
            with self._lock:
                now = time.monotonic()
                if self._waits:
                    idle_since = now
                    until = min(wait.read_at for waits in self._waits.values() for wait in waits)
                elif self._app_ended or now - idle_since >= LINGER_SECONDS:
                    self._thread = None
                    return
                else:
                    until = idle_since + LINGER_SECONDS
                if self._ended_waits:
                    until = now
                self._sleeps_until = until
            self._wake.sleep(max(0.0, until - now))
            # The read that follows includes waits that are added from here on.
            self._sleeps_until = 0.0

    def _read_due(self) -> None:
        """Read the states of the jobs that are due, and the results of those that have ended."""
        now = time.monotonic()
        with self._lock:
            ended = list(self._ended_waits)
            self._ended_waits.clear()
            due = {
                job_id: waits.copy()
                for job_id, waits in self._waits.items()
                if any(wait.read_at <= now + TOGETHER_SECONDS for wait in waits)
            }
        if not (ended or due):
            return
        loop_calls = LoopCalls()
        try:
            self._read_states(due, ended, now, loop_calls)
        finally:
            loop_calls.send()

    def _read_states(
        self, due: dict[int, list[Wait]], ended_waits: Sequence[CoroutineWait], now: float, loop_calls: LoopCalls
    ) -> None:
        # Read after the waits were registered, so `ended` will still be called for the jobs that are running now.
        running = self._running()
        unknown = [job_id for job_id in due if job_id not in running]
        ended = dict.fromkeys(ended_waits)
        try:
            database = self._database()
            states: dict[int, str] = {}
            for at in range(0, len(unknown), STATES_PER_READ):
                states.update(database.read(inspect.states, unknown[at : at + STATES_PER_READ]))
            for job_id, waits in due.items():
                state = JobState.RUNNING.value if job_id in running else states.get(job_id)
                for wait in waits:
                    if state is not None and state not in ENDED:
                        self._seen(wait, state, now, loop_calls)
                    elif isinstance(wait, ThreadWait):
                        # The thread reads the job itself.
                        wait.read_later(now)
                        wait.wake.call()
                    elif isinstance(wait, CoroutineWait):
                        ended[wait] = None
            self._deliver_results(database, list(ended), loop_calls)
            if not self._is_open(database):
                # The app was closed in the meantime, and the read has opened a connection of its own.
                database.close()
        except Exception as error:
            self._fail([*ended, *(wait for waits in due.values() for wait in waits)], error, loop_calls)

    def _seen(self, wait: Wait, state: str, now: float, loop_calls: LoopCalls) -> None:
        wait.seen(state)
        wait.read_later(now)
        if isinstance(wait, CoroutineWait) and not wait.was_read.done():
            loop_calls.add(wait.loop, wait.set_read)

    def _deliver_results(self, database: Database, waits: Sequence[CoroutineWait], loop_calls: LoopCalls) -> None:
        """Read the outcomes and deliver them; continue to wait for a job that has not ended after all."""
        now = time.monotonic()
        for at in range(0, len(waits), RESULTS_PER_READ):
            some = waits[at : at + RESULTS_PER_READ]
            outcomes = self._outcomes(database, list({wait.job_id for wait in some}))
            for wait in some:
                outcome = outcomes.get(wait.job_id)
                if isinstance(outcome, StoredOutcome) and outcome.state not in ENDED:
                    self._seen(wait, outcome.state, now, loop_calls)
                    continue
                value, error = wait.make(outcome)
                # The wait is over, even if its coroutine has not run yet.
                self._remove(wait)
                loop_calls.add(wait.loop, _setting(wait, value, error))
            loop_calls.send()

    def _outcomes(self, database: Database, job_ids: Sequence[int]) -> Mapping[int, StoredOutcome | Exception]:
        """Return the outcomes of these jobs, or the error for one that cannot be read."""
        try:
            return database.read(inspect.outcomes, job_ids)
        except StorageError:
            raise
        except Exception as error:
            if len(job_ids) == 1:
                return {job_ids[0]: error}
            return {job_id: found for one in job_ids for job_id, found in self._outcomes(database, [one]).items()}

    def _fail(self, waits: Iterable[Wait], error: Exception, loop_calls: LoopCalls) -> None:
        """Handle a failed read: older waits continue; new ones, and all those of a closed app, get the error."""
        passing, now = isinstance(error, StorageError), time.monotonic()
        for wait in dict.fromkeys(waits):
            if passing and wait.state is not None:
                wait.read_at = now + AFTER_ERROR_SECONDS
            elif isinstance(wait, CoroutineWait):
                self._remove(wait)
                loop_calls.add(wait.loop, _setting(wait, None, error))
            elif isinstance(wait, ThreadWait):
                wait.read_at = now + AFTER_ERROR_SECONDS
                if not passing:
                    wait.wake.call()


def _setting(wait: CoroutineWait, value: Any, error: BaseException | None) -> Callable[[], None]:
    return lambda: wait.set(value, error)
