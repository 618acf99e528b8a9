"""The Flask extension: one queue for each Flask app, configured by `app.config`, whose jobs run in an app context.

    queue = EmbedQ()

    @queue.job
    def send_mail(user_id: int) -> None: ...

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config["EMBEDQ_URL"] = "sqlite:///jobs.db"
        queue.init_app(app)
        return app

An extension may serve several Flask apps. Its verbs act on the queue of the current one or, outside of any app context,
of the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, Unpack, overload
from weakref import WeakKeyDictionary

from flask import Flask, current_app

from embedq import (
    BoundOptions,
    Call,
    ConfigurationError,
    Cron,
    EnqueueMiddleware,
    Every,
    JobHandle,
    Middleware,
    Misfire,
    NotStartedError,
    OptionKeywords,
    Task,
    default_app,
)
from embedq import EmbedQ as Queue
from embedq.contrib.flask.commands import commands
from embedq.contrib.flask.conf import AppConfig
from embedq.contrib.flask.contexts import InAppContext
from embedq.contrib.flask.proxies import make_storable
from embedq.contrib.flask.starting import Starter
from embedq.transactions import Block

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What the extension keeps of one Flask app."""

    queue: Queue
    starter: Starter


class EmbedQ:
    """The extension.

    Args:
        app: a Flask app to initialise at once; others by `init_app`.
        queue: use this queue, instead of making one for each Flask app. With `queue=embedq.default_app()` the
            functions of the module `embedq` act on the app's queue too. It can be of one Flask app only.
        middleware, enqueue_middleware: see `embedq.middleware`; the former is inside the app context.
    Raises:
        ConfigurationError: as for `init_app`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        queue: Queue | None = None,
        middleware: Iterable[Middleware] = (),
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
    ) -> None:
        self._given = queue
        self._middleware = tuple(middleware)
        self._enqueue_middleware = tuple(enqueue_middleware)
        self._states: WeakKeyDictionary[Flask, AppState] = WeakKeyDictionary()
        self._recurring: dict[str, Callable[[Queue], None]] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give a Flask app its queue, the command `flask embedq`, and workers where it serves requests.

        The database is not touched yet.
        Raises:
            ConfigurationError: a key of `app.config` that begins with EMBEDQ_ is unknown or has a value that cannot
                work; the app has been initialised already; the queue that was given is in use; or workers would start
                here, and under this web server no job would ever run.
        """
        if "embedq" in app.extensions:
            raise ConfigurationError(f"{app} has embedq already; call init_app once for each Flask app")
        config = AppConfig.read(app)
        queue = self._given or Queue()
        if not queue.engine.configurable:
            raise ConfigurationError(
                f"{queue!r} is in use already; let the extension configure it first, or close() it before the next "
                "Flask app is made"
            )
        queue.configure(
            middleware=[InAppContext(app), *self._middleware],
            enqueue_middleware=self._enqueue_middleware,
            **config.settings,
        )
        make_storable()
        guard = queue.settings.guard
        if guard is not None:
            app.wsgi_app = guard.wsgi(app.wsgi_app)  # type: ignore[method-assign]
        queue.engine.when_needed = queue.engine.connect
        for put in self._recurring.values():
            put(queue)
        starter = Starter(queue)
        self._states[app] = AppState(queue=queue, starter=starter)
        app.extensions["embedq"] = self
        app.cli.add_command(commands(lambda: queue))
        starter.watch(app, config.autostart)

    @property
    def current(self) -> Queue:
        """The queue of the current Flask app, or of the only one: all that an `embedq.EmbedQ` can do.

        Its database is opened when it is first needed.
        Raises:
            NotStartedError: no Flask app is current, and there is none, or several; or the current one has no queue.
        """
        return self._state().queue

    def _state(self) -> AppState:
        if current_app:
            # The app itself, from behind its proxy.
            state = self._states.get(current_app._get_current_object())  # type: ignore[attr-defined]
            if state is None:
                raise NotStartedError(f"{current_app!r} has no queue of this extension; call init_app(app)")
            return state
        states = list(self._states.values())
        if len(states) == 1:
            return states[0]
        raise NotStartedError(
            "several Flask apps use this extension; say which one is meant: with app.app_context(): …"
            if states
            else "no Flask app uses this extension yet; call init_app(app)"
        )

    def start(self) -> Queue:
        """Run jobs in this process from now on, whatever EMBEDQ_AUTOSTART says; see `embedq.EmbedQ.start`."""
        state = self._state()
        state.starter.give_up()
        return state.queue.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop running jobs here, and do not start by itself again; see `embedq.EmbedQ.stop`."""
        state = self._state()
        state.starter.give_up()
        return state.queue.stop(timeout)

    # -- the verbs of the current queue --------------------------------------------------------------------------------

    @overload
    def job(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def job(
        self, *, name: str | None = None, aliases: Sequence[str] = (), **options: Unpack[OptionKeywords]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    # As in embedq.app: mypy does not see that **options takes what an overload's Unpack[…] names.
    def job(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # type: ignore[misc]
        """Register a function as a job, before or after there is an app; see `embedq.EmbedQ.job`."""
        # The registry is the process's, so any queue will do to get there; enqueueing looks for the current one.
        return default_app().register(function, options, enqueuer=lambda: self.current)

    def enqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run `function(*args, **kwargs)` in the background; see `embedq.EmbedQ.enqueue`."""
        return self.current.enqueue(function, *args, **kwargs)

    def enqueue_in(
        self, delay: timedelta | float, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """Run it `delay` (a timedelta, or seconds) from now."""
        return self.current.enqueue_in(delay, function, *args, **kwargs)

    def enqueue_at(
        self, moment: datetime, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """Run it at `moment`, an aware datetime; ValueError if naive. One that has passed means now."""
        return self.current.enqueue_at(moment, function, *args, **kwargs)

    async def aenqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """`enqueue` for `async def` views: the event loop is not blocked by the disk."""
        return await self.current.aenqueue(function, *args, **kwargs)

    def enqueue_many(self, calls: Iterable[Call]) -> list[JobHandle]:
        """Enqueue many calls, made by `call`, in one transaction: all of them, or none."""
        return self.current.enqueue_many(calls)

    def call(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call, to hand to `enqueue_many`."""
        return self.current.call(function, *args, **kwargs)

    def transaction(self, connection: Any) -> Block:
        """Enqueue in your own transaction: `with queue.transaction(db.session): …`; see `embedq.EmbedQ.transaction`."""
        return self.current.transaction(connection)

    def on_commit(self, connection: Any) -> Block:
        """Enqueue after your transaction has been committed, to another database; see `embedq.EmbedQ.on_commit`."""
        return self.current.on_commit(connection)

    def options(self, **given: Unpack[OptionKeywords]) -> BoundOptions:
        """Options for one enqueue: `queue.options(queue="low").enqueue(f, 1)`."""
        return self.current.options(**given)

    def recurring(
        self,
        name: str,
        when: str | Cron | Every | timedelta,
        function: Callable[..., Any],
        /,
        *args: Any,
        timezone: str | None = None,
        misfire: str | Misfire = "once",
        grace: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a recurring job to every Flask app of this extension, those to come included.

        Called before `init_app`, mistakes are reported there. See `embedq.EmbedQ.recurring`.
        """

        def put(queue: Queue) -> None:
            queue.recurring(name, when, function, *args, timezone=timezone, misfire=misfire, grace=grace, **kwargs)

        for state in list(self._states.values()):
            put(state.queue)
        self._recurring[name] = put
