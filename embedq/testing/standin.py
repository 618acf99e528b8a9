"""An app whose database is the test's own, in the place of another.

The stand-in's parts replace those of the object that the program uses. So everything that refers to that app, such as
`embedq.enqueue`, tasks, and old references, uses the test's database until the test is over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import fields, replace
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from embedq.app import EmbedQ
from embedq.app.parts import AppParts
from embedq.clock import Clock
from embedq.config import Settings
from embedq.engine.job_builder import JobBuilder
from embedq.engine.lifecycle import Engine
from embedq.engine.recurring import RecurringJobs, WarnOfTakeover
from embedq.engine.stored_jobs import StoredJobs
from embedq.engine.transactions import Block
from embedq.job import JobId, JobState
from embedq.scheduling.misfire import Misfire
from embedq.scheduling.schedule import Cron, Every
from embedq.storage import jobs, unique
from embedq.storage.base import Database, Transaction
from embedq.storage.engines import ApplicationEngine
from embedq.storage.external import check_supported
from embedq.storage.rows import NewJob, json_ids
from embedq.tasks.handle import JobHandle
from embedq.tasks.middleware import EnqueueMiddleware, Middleware
from embedq.tasks.task import Call
from embedq.testing.calls import WatchedEnqueueing
from embedq.testing.errors import ForgottenFixtureError, JobNotRunError
from embedq.testing.waiting import why
from embedq.worker.contexts import Contexts

P = ParamSpec("P")
T = TypeVar("T")

# The settings of a test's database: it need not survive a power failure, nor have a key file beside it.
OWN_SETTINGS = {"connect": None, "durability": "normal", "secret_key": "the key of an app under test"}


class EngineUnderTest(Engine):
    """An engine that starts no threads, and keeps its database and its clock regardless of what the program configures.

    Attributes:
        written: called when a job has been written.
        contexts: of the jobs.
        taken_back: called with the ids of jobs that were rolled back, and the block that they were enqueued in.
    """

    # Jobs see no context variables of the test, except those that were set when the program called `start`.
    contexts = Contexts(Context())
    written: Callable[[], None] | None = None
    taken_back: Callable[[Sequence[int], object], None] | None = None

    def configure(
        self,
        url: str | Path | ApplicationEngine | None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> None:
        enqueue_middleware, middleware = list(enqueue_middleware), list(middleware)
        if not self.connected:
            super().configure(
                url, clock=clock, enqueue_middleware=enqueue_middleware, middleware=middleware, **settings
            )
        elif url is not None or settings or enqueue_middleware or middleware:
            # The program's settings apply in the test too, and its mistakes are reported as usual.
            requested = Engine(when_connected=_nothing, look_around=_nothing)
            requested.configure(url, **settings)
            own = {name: getattr(self.settings, name) for name in ("url", *OWN_SETTINGS)}
            if requested.settings.secret_key is not None:
                own["secret_key"] = requested.settings.secret_key
            self.settings, self.default_options = replace(requested.settings, **own), requested.default_options
            self._key = None
            self.enqueue_middleware, self.middleware = enqueue_middleware, middleware

    @property
    def configurable(self) -> bool:
        return True

    def start(self) -> None:
        self.contexts = Contexts()
        self.connect()

    def stop(self, timeout: float | timedelta | None) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: the program may close its app, and the test still reads what it did."""

    def dispose(self) -> None:
        """Close the database; the test is over."""
        super().close()

    def notify(self, run_at: int) -> None:
        __tracebackhide__ = True
        if self.written is not None:
            self.written()


def _nothing(*_: object) -> None:
    """Never called: that engine is not opened."""


class StoredJobsUnderTest(StoredJobs):
    """Refuses waits that would never end: in a test no job runs by itself."""

    def _ended(self, job_id: JobId, timeout: float | None) -> tuple[JobState, str | None, str | None]:
        __tracebackhide__ = True
        self._refuse_to_wait_in_vain(job_id)
        return super()._ended(job_id, timeout)

    async def aresult_of(self, job_id: JobId, timeout: float | timedelta | None) -> Any:
        __tracebackhide__ = True
        self._refuse_to_wait_in_vain(job_id)
        if self.job_state(job_id).ended:
            return await self._engine.offload.run(self.result_of, job_id, None)
        return await super().aresult_of(job_id, timeout)

    def _refuse_to_wait_in_vain(self, job_id: JobId) -> None:
        __tracebackhide__ = True
        job = self.job_snapshot(job_id)
        if job.state.ended or job.state is JobState.RUNNING:
            return
        what = f"job {job_id} ({job.name}) is {job.state.value}"
        reason = None
        if job.state in (JobState.READY, JobState.PARKED):
            reason = self._engine.database.read(why, job, now=self._engine.clock.now())
        if reason is not None:
            what += f": {reason.text}; {reason.remedy}"
        elif job.state in (JobState.SCHEDULED, JobState.RETRYING):
            what += f" until {job.run_at:%Y-%m-%d %H:%M:%S} UTC; let the time pass: embedq_app.clock.advance(…)"
        else:
            what += "; run what is due first: embedq_app.drain()"
        raise JobNotRunError(f"{what}. In a test no job runs by itself.")


class EnqueueingUnderTest(WatchedEnqueueing):
    """Enqueues outside of the application's transaction, since the test's database is another one."""

    def transaction(self, target: Any) -> Block:
        check_supported(target)
        assert isinstance(self._engine, EngineUnderTest)
        return ApartBlock(self._engine, self._stored)


class ApartBlock(Block):
    """Writes each job at once, and deletes it if an exception leaves the block, which usually means a rollback."""

    engine: EngineUnderTest

    def __init__(self, engine: EngineUnderTest, stored: StoredJobs) -> None:
        super().__init__(engine)
        self._stored = stored
        self._written: list[int] = []

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        inserted = self.write(jobs.insert_all, rows, retention=self.engine.settings.retention)
        self._written += [job_id for job_id, created in inserted if created]
        return [self._stored.handle(job_id, created=created) for job_id, created in inserted]

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.engine.database.write(function, *args, **kwargs)

    def left(self, error: BaseException | None) -> None:
        if error is None:
            self.engine.notify(0)
            return
        if self._written:
            self.write(_take_back, self._written)
        if self.engine.taken_back is not None:
            self.engine.taken_back(self._written, self)


def _take_back(tx: Transaction, job_ids: Sequence[int]) -> None:
    """Delete jobs that were rolled back, and free their unique keys, also those of a period."""
    tx.run("delete_jobs", (json_ids(job_ids),))
    unique.forget(tx, job_ids)


class RecurringUnderTest(RecurringJobs):
    """Notes the recurring jobs that the import of a module declares: it happens once, and they are for every test."""

    def __init__(self, engine: Engine, builder: JobBuilder, warn_of_takeover: WarnOfTakeover) -> None:
        super().__init__(engine, builder, warn_of_takeover)
        self._imported: list[str] = []

    def put(
        self,
        name: str,
        when: str | Cron | Every | timedelta,
        call: Call[Any],
        *,
        timezone: str | tzinfo | None,
        misfire: str | Misfire,
        grace: timedelta | None,
        overlap: str,
    ) -> None:
        super().put(name, when, call, timezone=timezone, misfire=misfire, grace=grace, overlap=overlap)
        if _at_import():
            self._imported.append(name)

    def declare_imported_in(self, other: RecurringJobs) -> None:
        """Declare those in another app as well."""
        other.declare(self._declared[name] for name in self._imported if name in self._declared)


def _at_import() -> bool:
    """Whether the top level of a module that is being imported called this."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and getattr(frame.f_globals.get("__spec__"), "_initializing", False):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class PartsUnderTest(AppParts):
    """The parts of an app for a test."""

    engine: EngineUnderTest
    enqueueing: WatchedEnqueueing
    recurring: RecurringUnderTest


class StandIn(EmbedQ):
    """An app for a test."""

    _parts: PartsUnderTest

    def __init__(self, url: str | Path, **settings: Any) -> None:
        self._parts = self._assemble()
        self.configure(url, **settings)

    def _assemble(self) -> PartsUnderTest:
        return PartsUnderTest(
            engine=EngineUnderTest,
            stored=StoredJobsUnderTest,
            enqueueing=EnqueueingUnderTest,
            recurring=RecurringUnderTest,
        )

    @property
    def engine(self) -> EngineUnderTest:
        return self._parts.engine

    @classmethod
    def like(cls, app: EmbedQ, url: str | Path, clock: Clock, given: dict[str, Any]) -> Self:
        """A stand-in with the app's settings and middleware, and those that are given, on the database `url`."""
        settings = {item.name: getattr(app.settings, item.name) for item in fields(Settings)}
        hooks = {
            "enqueue_middleware": app.engine.enqueue_middleware,
            "middleware": app.engine.middleware,
            "default_options": app.engine.default_options,
        }
        return cls(**{**settings, **hooks, **OWN_SETTINGS, **given, "url": url, "clock": clock})

    @contextmanager
    def in_the_place_of(self, app: EmbedQ) -> Iterator[None]:
        """Inside, `app` is this one, and has the same recurring jobs.

        Those that the import of a module adds inside are kept for later: the module is imported once.
        """
        own = app._parts
        own.recurring.declare_in(self._parts.recurring)
        app._parts = self._parts
        try:
            yield
        finally:
            app._parts = own
            self._parts.recurring.declare_imported_in(own.recurring)


class StandInThere(StandIn):
    """A stand-in on a database that the test gave: it may be the application's, and its transactions are real."""

    def _assemble(self) -> PartsUnderTest:
        return PartsUnderTest(
            engine=EngineUnderTest,
            stored=StoredJobsUnderTest,
            enqueueing=WatchedEnqueueing,
            recurring=RecurringUnderTest,
        )


class ForgottenEngine(EngineUnderTest):
    """Refuses to open a database: the test should have named one."""

    def connect(self, *, migrate: bool = True) -> None:
        raise _forgotten(self.settings)

    @property
    def database(self) -> Database:
        raise _forgotten(self.settings)


def _forgotten(settings: Settings) -> ForgottenFixtureError:
    return ForgottenFixtureError(
        f"this test would use {settings.database}. Give it a database of its own: use the fixture embedq_app, or mark "
        "the test with @pytest.mark.embedq (embedq_guard is set in the configuration of pytest)"
    )


class ForgottenApp(StandIn):
    """The default app outside of tests that use the fixture, if that is guarded."""

    def _assemble(self) -> PartsUnderTest:
        return PartsUnderTest(engine=ForgottenEngine, enqueueing=EnqueueingUnderTest, recurring=RecurringUnderTest)
