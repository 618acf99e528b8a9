"""An app whose database is the test's own, in the place of another.

The stand-in's parts are put into the very object that the program holds. So everything that leads to that app, such as
`embedq.enqueue`, tasks, and references taken long ago, leads to the test's database until the test is over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar

from embedq.app import EmbedQ
from embedq.clock import Clock
from embedq.config import Settings
from embedq.control import JobControl
from embedq.drafting import Drafting
from embedq.engine import Engine
from embedq.enqueueing import Enqueueing, StoredJobs
from embedq.handle import JobHandle
from embedq.job import JobId, JobState
from embedq.middleware import EnqueueMiddleware, Middleware
from embedq.misfire import Misfire
from embedq.recurring import RecurringJobs
from embedq.schedule import Cron, Every
from embedq.storage import jobs
from embedq.storage.base import Database, Transaction
from embedq.storage.engines import ApplicationEngine
from embedq.storage.foreign import refuse_strangers
from embedq.storage.rows import NewJob, json_ids
from embedq.task import Call
from embedq.testing.errors import ForgottenFixtureError, JobNotRunError
from embedq.transactions import Block

P = ParamSpec("P")
T = TypeVar("T")

# What a test's database has of its own: it need not survive a power cut, nor have a key file beside it.
OWN_SETTINGS = {"connect": None, "durability": "normal", "secret_key": "the key of an app under test"}


class EngineUnderTest(Engine):
    """An engine that starts no threads, and keeps its database and its clock whatever the program configures.

    Attributes:
        written: called when a job has been written.
        taken_back: called with the ids of jobs that were written and are gone again.
    """

    written: Callable[[], None] | None = None
    taken_back: Callable[[Sequence[int]], None] | None = None

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
            # What the program starts with holds in the test too, and its mistakes are reported as ever.
            asked = Engine(when_connected=_nothing)
            asked.configure(url, **settings)
            own = {name: getattr(self.settings, name) for name in ("url", *OWN_SETTINGS)}
            if asked.settings.secret_key is not None:
                own["secret_key"] = asked.settings.secret_key
            self.settings = replace(asked.settings, **own)
            self._key = None
            self.enqueue_middleware, self.middleware = enqueue_middleware, middleware

    @property
    def configurable(self) -> bool:
        return True

    def start(self) -> None:
        self.connect()

    def stop(self, timeout: float | None) -> bool:
        return True

    def close(self) -> None:
        """Nothing: the program may close its app, and the test still looks at what it did."""

    def dispose(self) -> None:
        """Close the database; the test is over."""
        super().close()

    def notify(self, run_at: int) -> None:
        __tracebackhide__ = True
        if self.written is not None:
            self.written()


def _nothing() -> None:
    """Never called: that engine is not opened."""


class ControlUnderTest(JobControl):
    """Does not wait for what will not happen: in a test no job runs by itself."""

    def wait_for(self, job_id: JobId, timeout: float | None) -> JobState:
        self._refuse_to_wait_in_vain(job_id)
        return super().wait_for(job_id, timeout)

    async def aresult_of(self, job_id: JobId, timeout: float | None) -> Any:
        self._refuse_to_wait_in_vain(job_id)
        return await super().aresult_of(job_id, timeout)

    def _refuse_to_wait_in_vain(self, job_id: JobId) -> None:
        __tracebackhide__ = True
        job = self.job_snapshot(job_id)
        if job.state.ended or job.state is JobState.RUNNING:
            return
        what = f"job {job_id} ({job.name}) is {job.state.value}"
        if job.state in (JobState.SCHEDULED, JobState.RETRYING):
            what += f" until {job.run_at:%Y-%m-%d %H:%M:%S} UTC; let the time pass: embedq_app.clock.advance(…)"
        else:
            what += "; run what is due first: embedq_app.drain()"
        raise JobNotRunError(f"{what}. In a test no job runs by itself.")


class EnqueueingUnderTest(Enqueueing):
    """Where the test's database is not the application's, no job can be a part of the application's transaction."""

    def transaction(self, target: Any) -> Block:
        refuse_strangers(target)
        assert isinstance(self._engine, EngineUnderTest)
        return ApartBlock(self._engine, self._handles)


class ApartBlock(Block):
    """Writes each job at once, and takes it back if an exception leaves the block: that is a rollback as a rule."""

    engine: EngineUnderTest

    def __init__(self, engine: EngineUnderTest, handles: StoredJobs) -> None:
        super().__init__(engine)
        self._handles = handles
        self._written: list[int] = []

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle]:
        inserted = self.write(jobs.insert_all, rows, retention=self.engine.settings.retention)
        self._written += [job_id for job_id, created in inserted if created]
        return [self._handles.handle(job_id, created=created) for job_id, created in inserted]

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.engine.database.write(function, *args, **kwargs)

    def left(self, error: BaseException | None) -> None:
        if error is None:
            self.engine.notify(0)
        elif self._written:
            self.write(lambda tx: tx.run("delete_jobs", (json_ids(self._written),)))
            if self.engine.taken_back is not None:
                self.engine.taken_back(self._written)


class RecurringUnderTest(RecurringJobs):
    """Knows which recurring jobs the import of a module has added: it happens once, and they are for every test."""

    def __init__(self, engine: Engine, drafting: Drafting) -> None:
        super().__init__(engine, drafting)
        self._imported: list[str] = []

    def put(
        self,
        name: str,
        when: str | Cron | Every | timedelta,
        call: Call,
        *,
        timezone: str | None,
        misfire: str | Misfire,
        grace: timedelta | None,
    ) -> None:
        super().put(name, when, call, timezone=timezone, misfire=misfire, grace=grace)
        if _at_import():
            self._imported.append(name)

    def declare_imported_in(self, other: RecurringJobs) -> None:
        """Put those into another app as well."""
        for name in self._imported:
            if name in self._declared:
                self._declared[name](other)


def _at_import() -> bool:
    """Whether the top level of a module that is being imported called this."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and getattr(frame.f_globals.get("__spec__"), "_initializing", False):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class StandIn(EmbedQ):
    """An app for a test."""

    _engine_type: ClassVar[type[Engine]] = EngineUnderTest
    _control_type: ClassVar[type[JobControl]] = ControlUnderTest
    _enqueueing_type: ClassVar[type[Enqueueing]] = EnqueueingUnderTest
    _recurring_type: ClassVar[type[RecurringJobs]] = RecurringUnderTest

    engine: EngineUnderTest
    _recurring: RecurringUnderTest

    @classmethod
    def like(cls, app: EmbedQ, url: str | Path, clock: Clock, given: dict[str, Any]) -> Self:
        """A stand-in with the app's settings and middleware, and those that are given, on the database `url`."""
        settings = {item.name: getattr(app.settings, item.name) for item in fields(Settings)}
        hooks = {"enqueue_middleware": app.engine.enqueue_middleware, "middleware": app.engine.middleware}
        return cls(**{**settings, **hooks, **OWN_SETTINGS, **given, "url": url, "clock": clock})

    @contextmanager
    def in_the_place_of(self, app: EmbedQ) -> Iterator[None]:
        """Inside, `app` is this one, and has the same recurring jobs.

        Those that the import of a module adds meanwhile are kept for later: the module is imported once.
        """
        app._recurring.declare_in(self._recurring)
        own = dict(vars(app))
        vars(app).update(vars(self))
        try:
            yield
        finally:
            vars(app).clear()
            vars(app).update(own)
            self._recurring.declare_imported_in(app._recurring)


class StandInThere(StandIn):
    """A stand-in on a database that the test gave: it may be the application's, and its transactions are real."""

    _enqueueing_type = Enqueueing


class ForgottenEngine(EngineUnderTest):
    """Refuses to open a database: the test should have said which."""

    def connect(self, *, migrate: bool = True) -> None:
        raise _forgotten(self.settings)

    @property
    def database(self) -> Database:
        raise _forgotten(self.settings)


def _forgotten(settings: Settings) -> ForgottenFixtureError:
    return ForgottenFixtureError(
        f"this test would use {settings.database}. Give it a database of its own: take the fixture embedq_app, or mark "
        "the test with @pytest.mark.embedq (embedq_guard is set in the configuration of pytest)"
    )


class ForgottenApp(StandIn):
    """What the default app is outside the tests that ask for it, where that is guarded."""

    _engine_type = ForgottenEngine
    _control_type = JobControl
