"""The Flask extension: one queue for each Flask app, configured by `app.config`, whose jobs run in an app context.

    queue = EmbedQ()

    @queue.job
    def send_mail(user_id: int) -> None: ...

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config["EMBEDQ_URL"] = "sqlite:///jobs.db"
        queue.init_app(app)
        return app

An extension may serve several Flask apps. Its verbs act on the queue of the current app or, outside of any app context,
of the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from flask import Flask, current_app

from embedq import Call, ConfigurationError, EnqueueMiddleware, Middleware, NotStartedError
from embedq import EmbedQ as Queue
from embedq.app.recurring_verbs import When
from embedq.app.verbs import QueueVerbs
from embedq.contrib.flask.commands import commands
from embedq.contrib.flask.conf import AppConfig
from embedq.contrib.flask.contexts import InAppContext
from embedq.contrib.flask.proxies import make_storable
from embedq.contrib.flask.starting import Starter
from embedq.engine.transactions import Block
from embedq.storage.external import sqlalchemy_session


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What the extension stores for one Flask app."""

    queue: Queue
    starter: Starter
    # In a test: the application's database is in memory, and the jobs are in another one.
    apart: bool


class FlaskExtension(QueueVerbs):
    """The extension: the verbs of `embedq.EmbedQ`, on the queue of the current Flask app.

    Args:
        app: a Flask app to initialise at once; others by `init_app`.
        queue: use this queue, instead of making one for each Flask app. With `queue=embedq.default_app()` the
            functions of the module `embedq` act on the app's queue too. Only one Flask app can use it.
        middleware, enqueue_middleware: see `embedq.tasks.middleware`; the former is inside the app context.
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

        The database is not opened yet.
        Raises:
            ConfigurationError: a key of `app.config` that begins with EMBEDQ_ is unknown or has an invalid value;
                the app has been initialised already; the queue that was passed is in use; or workers would start here,
                but no job would ever run under this web server.
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
        self._states[app] = AppState(queue=queue, starter=starter, apart=config.apart)
        app.extensions["embedq"] = self
        app.cli.add_command(commands(lambda: queue))
        starter.watch(app, config.autostart)

    @property
    def current(self) -> Queue:
        """The queue of the current Flask app, or of the only one, as an `embedq.EmbedQ`.

        Its database is opened when it is first needed.
        Raises:
            NotStartedError: no Flask app is current, and there is none, or several; or the current one has no queue.
        """
        return self._state().queue

    def _state(self) -> AppState:
        if current_app:
            # The app itself, not its proxy.
            state = self._states.get(current_app._get_current_object())  # type: ignore[attr-defined]
            if state is None:
                raise NotStartedError(f"{current_app!r} has no queue of this extension; call init_app(app)")
            return state
        states = list(self._states.values())
        if len(states) == 1:
            return states[0]
        raise NotStartedError(
            "several Flask apps use this extension; choose one: with app.app_context(): …"
            if states
            else "no Flask app uses this extension yet; call init_app(app)"
        )

    def start(self) -> Queue:
        """Run jobs in this process from now on, whatever EMBEDQ_AUTOSTART is; see `embedq.EmbedQ.start`."""
        state = self._state()
        state.starter.give_up()
        return state.queue.start()

    def stop(self, timeout: float | timedelta | None = None) -> bool:
        """Stop running jobs here, and do not start them automatically again; see `embedq.EmbedQ.stop`."""
        state = self._state()
        state.starter.give_up()
        return state.queue.stop(timeout)

    # -- the verbs, on the current queue -------------------------------------------------------------------------------

    def _app(self) -> Queue:
        return self.current

    def transaction(self, connection: Any) -> Block:
        """Enqueue in your own transaction: `with queue.transaction(db.session): …`; see `embedq.EmbedQ.transaction`.

        In a test with a database in memory, the jobs are written after its commit, and have no id before that.
        """
        state = self._state()
        if not state.apart:
            return state.queue.transaction(connection)
        return state.queue.on_commit(connection) if sqlalchemy_session(connection) is not None else state.queue.hold()

    def _put_recurring(self, name: str, when: When, call: Call[Any], **options: Any) -> None:
        """Add a recurring job to every Flask app of this extension, including those that are initialised later.

        Before `init_app`, mistakes are reported there.
        """

        def put(queue: Queue) -> None:
            queue.recurring(name, when, call, **options)

        for state in list(self._states.values()):
            put(state.queue)
        self._recurring[name] = put
