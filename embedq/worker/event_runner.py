"""The event loop's stand-in until the first `async def` job: importing asyncio costs more than starting embedq does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedq.liveness import RunningNotes
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.execution import Execution
from embedq.worker.stacks import Stack

if TYPE_CHECKING:
    from embedq.worker.event_loop import AsyncRunner


class LazyAsyncRunner:
    """An `AsyncRunner` that is made when it is first needed; see there."""

    def __init__(
        self, size: int, *, execution: Execution, report: Callable[[Outcome], None], notes: RunningNotes
    ) -> None:
        self._size = size
        self._execution = execution
        self._report = report
        self._notes = notes
        self._runner: AsyncRunner | None = None

    @property
    def room(self) -> int:
        return self._size if self._runner is None else self._runner.room

    @property
    def busy(self) -> bool:
        return self._runner is not None and self._runner.busy

    @property
    def latest_start(self) -> float:
        return 0.0 if self._runner is None else self._runner.latest_start

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        if self._runner is None:
            from embedq.worker.event_loop import AsyncRunner

            self._runner = AsyncRunner(self._size, execution=self._execution, report=self._report, notes=self._notes)
        self._runner.submit(jobs)

    def replace(self, job_id: int, claim: int) -> bool:
        return self._runner is not None and self._runner.replace(job_id, claim)

    def stack_of(self, job_id: int) -> Stack | None:
        if self._runner is None:
            return None
        from embedq.worker.event_loop import stack_of

        return stack_of(job_id)

    def stop(self, timeout: float) -> None:
        if self._runner is not None:
            self._runner.stop(timeout)
