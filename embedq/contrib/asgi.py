"""embedq in the lifespan of an ASGI application: workers start with it, and are drained at its end.

    app = Starlette(lifespan=lifespan("sqlite:///jobs.db"))

`embedq.contrib.fastapi`, `.starlette` and `.litestar` are for one framework each. This module needs none of them.
Starting and draining run on a thread, so the event loop is not blocked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from embedq import ConfigurationError, EmbedQ, default_app
from embedq.process import shutdown
from embedq.process.offload import Offload

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

# The key of the queue in the lifespan state, which ASGI servers pass to each request.
STATE = "embedq"


def queue_of(given: EmbedQ | str | Path | None = None, **settings: Any) -> EmbedQ:
    """Return the given queue, or the default app, configured by a URL and settings.

    Raises:
        ConfigurationError: an invalid setting, or settings for a queue that has its own.
    """
    if isinstance(given, EmbedQ):
        if settings:
            raise ConfigurationError(f"{given!r} has its settings; pass {', '.join(settings)} where it is created")
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
    """Return a lifespan for an ASGI framework's application. With `guard=True`, or a `Guard`, it observes the requests.

    Args:
        queue: an app of yours, or the URL of the default app, on which the functions of the module `embedq` act;
            None for the default app as it is configured.
        workers_here: False only connects, in a server that runs no jobs.
        within: a lifespan of your own. It is entered before the first job runs and left after the last; its value
            is passed on.
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
    """Let the queue's guard, if it has one, observe the requests of a Starlette application, or of one based on it.

    Middleware can be added there only before the start, and this is the start. Other frameworks add `guard.asgi`.
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
    """Start the queue, or only connect it; at the end, drain it and close it, unless it was started before.

    Raises:
        StorageError: the database cannot be opened; nothing was started.
    """
    # A thread of its own: at the end of an application all of the queue's may be waiting for the database.
    aside = Offload(threads=1)
    connected, started = queue.engine.connected, queue.started
    await aside.run(queue.start if workers_here else queue.connect)
    if workers_here:
        # Again, on the main thread: Hypercorn sends SIGTERM to workers that still drain, and nothing else handles it.
        shutdown.drain_at_exit(on_sigterm=queue.settings.sigterm)
    try:
        yield queue
    finally:
        if not connected:
            await aside.run(queue.close)
        elif not started:
            await aside.run(queue.stop)
