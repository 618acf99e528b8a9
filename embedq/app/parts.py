"""The parts of one app, put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedq.app import startup_check
from embedq.engine.enqueueing import Enqueueing
from embedq.engine.job_builder import JobBuilder
from embedq.engine.lifecycle import Engine
from embedq.engine.recurring import RecurringJobs
from embedq.engine.stored_jobs import StoredJobs
from embedq.job import JobId, Trigger
from embedq.tasks.handle import JobHandle
from embedq.tasks.registry import REGISTRY

if TYPE_CHECKING:
    from embedq.operations.actions import Actions
    from embedq.operations.limiting import Limiting
    from embedq.operations.monitor import Monitor
    from embedq.operations.pausing import Pausing


class AppParts:
    """What an `EmbedQ` delegates to.

    Args:
        engine, stored, enqueueing, recurring: the classes of the parts; `embedq.testing` passes its own.
    """

    def __init__(
        self,
        *,
        engine: type[Engine] = Engine,
        stored: type[StoredJobs] = StoredJobs,
        enqueueing: type[Enqueueing] = Enqueueing,
        recurring: type[RecurringJobs] = RecurringJobs,
    ) -> None:
        self.engine = engine(
            when_connected=lambda: self.recurring.write_pending(), look_around=startup_check.check_startup
        )
        builder = JobBuilder(self.engine)
        self.stored = stored(self.engine, self._enqueue_continuation)
        self.enqueueing = enqueueing(self.engine, builder, self.stored)
        self.recurring = recurring(self.engine, builder, startup_check.warn_of_takeover)

    def _enqueue_continuation(
        self,
        parent_id: JobId,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        trigger: Trigger,
    ) -> JobHandle[Any]:
        return self.enqueueing.submit_continuation(REGISTRY.call(function, args, kwargs), parent_id, trigger)

    # Imported when they are first used: most processes never do.

    @cached_property
    def monitor(self) -> Monitor:
        from embedq.operations.monitor import Monitor

        return Monitor(self.engine, self.recurring)

    @cached_property
    def actions(self) -> Actions:
        from embedq.operations.actions import Actions

        return Actions(self.engine, self.stored.notify)

    @cached_property
    def limiting(self) -> Limiting:
        from embedq.operations.limiting import Limiting

        return Limiting(self.engine)

    @cached_property
    def pausing(self) -> Pausing:
        from embedq.operations.pausing import Pausing

        return Pausing(self.engine)
