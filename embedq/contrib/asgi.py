"""embedq in the lifespan of an ASGI application: workers start with it, and are drained at its end.

    app = Starlette(lifespan=lifespan("sqlite:///jobs.db"))

`embedq.contrib.fastapi`, `.starlette` and `.litestar` are for one framework each. What is here needs none of them.
Starting and draining wait on a thread, so the event loop goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from embedq import ConfigurationError, EmbedQ, default_app, shutdown
from embedq.offload import Offload

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

# Where the lifespan leaves the queue in the state that ASGI servers hand on to each request.
STATE = "embedq"


def queue_of(given: EmbedQ | str | Path | None = None, **settings: Any) -> EmbedQ:
    """The queue that is meant: the one given, or the default app, configured by a URL and settings.

    Raises:
        ConfigurationError: a setting that cannot work, or settings for a queue that has its own.
    """
    if isinstance(given, EmbedQ):
        if settings:
            raise ConfigurationError(f"{given!r} has its settings; give {', '.join(settings)} where it is made")
        return given
    app = default_app()
    return app if given is None and not settings else app.configure(given, **settings)


def lifespan(
    queue: EmbedQ | str | Path | None = None,
    *,
    workers_here: bool = True,
    within: Lifespan | None = None,
    **settings: Any,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """A lifespan for an ASGI framework's application. With `guard=True`, or a `Guard`, that watches its requests.

    Args:
        queue: an app of yours, or the URL of the default app, on which the functions of the module `embedq` act;
            None for the default app as it is configured.
        workers_here: False only connects, in a server whose jobs run elsewhere.
        within: a lifespan of your own. It is entered before the first job runs and left after the last, and what it
            yields is yielded on.
        settings: for the default app: as for `embedq.start`.
    Raises:
        ConfigurationError: as for `queue_of`.
    """
    chosen = queue_of(queue, **settings)
    if within is not None and (not callable(within) or isinstance(within, AbstractAsyncContextManager)):
        raise ConfigurationError(f"within={within!r} must be a function of the application, as lifespan= takes it")

    @asynccontextmanager
    async def embedq_lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(within(app)) if within is not None else None
            await stack.enter_async_context(running(chosen, workers_here=workers_here))
            stack.enter_context(_guarded(app, chosen))
            yield {**(state or {}), STATE: chosen}

    return embedq_lifespan


@contextmanager
def _guarded(app: Any, queue: EmbedQ) -> Iterator[None]:
    """The guard of the queue, if it has one, watches the requests of a Starlette application, or of one made of it.

    Middleware can be added there only before the start, and this is the start. Others add `guard.asgi` themselves.
    """
    guard, stack = queue.settings.guard, getattr(app, "middleware_stack", None)
    if guard is None or not callable(stack):
        yield
        return
    app.middleware_stack = guard.asgi(stack)
    try:
        yield
    finally:
        app.middleware_stack = stack


@asynccontextmanager
async def running(queue: EmbedQ, *, workers_here: bool = True) -> AsyncIterator[EmbedQ]:
    """The queue, started, or only connected; at the end it is as it was before: drained, and closed.

    Raises:
        StorageError: the database cannot be opened; nothing was started.
    """
    # A thread of its own: at the end of an application the queue's may all be waiting for the database.
    aside = Offload(threads=1)
    connected, started = queue.engine.connected, queue.started
    await aside.run(queue.start if workers_here else queue.connect)
    if workers_here:
        # Again, on the main thread: Hypercorn ends workers that still drain by a SIGTERM that nobody handles.
        shutdown.drain_at_exit(on_sigterm=queue.settings.sigterm)
    try:
        yield queue
    finally:
        if not connected:
            await aside.run(queue.close)
        elif not started:
            await aside.run(queue.stop)
