"""A guard keeps background jobs from slowing down the requests of the web app they live in.

    guard = embedq.Guard()
    embedq.start("sqlite:///app.db", guard=guard)
    app.wsgi_app = guard.wsgi(app.wsgi_app)            # Flask, or anything else that is WSGI
    app.add_middleware(guard.asgi)                     # Starlette, FastAPI, or anything else that is ASGI

Only one thread of a process runs Python at a time. After each wait, a request queues for its turn among the threads
that compute; with ten of those it waits for ten turns, again and again. So the guard

1. measures how long a thread waits for its turn, while jobs run (worker/governor.py);
2. lets fewer jobs run at once on threads when that is too long. Jobs that compute do not become slower in total: they
   share one interpreter anyway;
3. lets no job start while there are requests and even one job is too many; except one every `one_job_every` seconds;
4. makes the turns shorter (`switch_interval`), which helps against jobs that run already.

Jobs that wait for a network or a disk do not slow down requests, and are not limited. Nor are those with
`executor="process"`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from embedq.errors import ConfigurationError

# Requests that ended no longer ago than this count as traffic, and the latency is measured on them.
RECENT_SECONDS = 1.0
# A percentile of the latency needs at least this many requests.
FEWEST_FOR_PERCENTILE = 5

WSGIApp = Callable[..., Iterable[bytes]]
ASGIScope = MutableMapping[str, Any]
ASGIReceive = Callable[[], Awaitable[MutableMapping[str, Any]]]
ASGISend = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Requests:
    """The requests that are being served, and those that ended a moment ago. Any thread may begin and end one."""

    def __init__(self) -> None:
        # Only operations that are atomic in the interpreter: a request must not wait for a lock here.
        self._begun: dict[object, float] = {}
        self._ended: deque[tuple[float, float]] = deque(maxlen=256)

    def begin(self) -> object:
        """Record that a request came; pass what this returns to `end`."""
        token = object()
        self._begun[token] = time.monotonic()
        return token

    def end(self, token: object) -> None:
        """Record that its response is about to be sent. A second call has no effect."""
        began = self._begun.pop(token, None)
        if began is not None:
            now = time.monotonic()
            self._ended.append((now, now - began))

    def forget(self) -> None:
        """Forget all requests."""
        self._begun.clear()
        self._ended.clear()

    @property
    def in_flight(self) -> int:
        """How many are being served."""
        return len(self._begun)

    def present(self, now: float) -> bool:
        """Return whether there is traffic."""
        return bool(self._begun) or bool(self._ended and now - self._ended[-1][0] < RECENT_SECONDS)

    def slow(self, now: float, latency: float) -> bool:
        """Return whether one in twenty of the recent or current requests has taken longer than `latency` seconds."""
        took = [took for ended, took in self._ended.copy() if now - ended < RECENT_SECONDS]
        took += [now - began for began in self._begun.copy().values()]
        took.sort()
        return len(took) >= FEWEST_FOR_PERCENTILE and took[int(len(took) * 0.95)] > latency


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The limits of the guard. Pass it to `embedq.start(guard=…)`, and put its middleware around the web app.

    Without the middleware it does not see requests, and always lets at least one job run on threads.

    Attributes:
        delay: the longest that a thread should wait for its turn to run, in seconds; the median of a tenth of a second.
        latency: jobs are also held back when one in twenty requests takes longer than this, in seconds. None ignores
            the latency: a slow database, or another site, may be its cause.
        one_job_every: seconds after which a job starts in any case.
        switch_interval: for `sys.setswitchinterval` while the app is started, unless that is shorter already, in
            seconds; None does not change it.
    Raises:
        ConfigurationError: a value is not valid.
    """

    delay: float = 0.002
    latency: float | None = None
    one_job_every: float = 1.0
    switch_interval: float | None = 0.0005
    requests: Requests = field(default_factory=Requests, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least, optional in (
            ("delay", 0.0005, False), ("latency", 0.001, True), ("one_job_every", 0.1, False),
            ("switch_interval", 0.0001, True),
        ):  # fmt: skip
            value = getattr(self, name)
            if optional and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 3600:
                no = ", or None" if optional else ""
                raise ConfigurationError(f"Guard: {name}={value!r} must be seconds, from {least:g} to 3600{no}")

    def __reduce__(self) -> tuple[Callable[..., Guard], tuple[Any, ...]]:
        # The recorded requests belong to this process.
        return _guard, (self.delay, self.latency, self.one_job_every, self.switch_interval)

    def wsgi(self, app: WSGIApp) -> WSGIApp:
        """Wrap a WSGI application: each call of it is a request. What it returns is passed on unchanged."""
        requests = self.requests

        def guarded(environ: Any, start_response: Any) -> Iterable[bytes]:
            token = requests.begin()
            try:
                return app(environ, start_response)
            finally:
                requests.end(token)

        return guarded

    def asgi(self, app: ASGIApp) -> ASGIApp:
        """Wrap an ASGI application: a request lasts until its response begins.

        Long responses, websockets and the lifespan do not count: no visitor waits for their end.
        """
        requests = self.requests

        async def guarded(scope: ASGIScope, receive: ASGIReceive, send: ASGISend) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            token = requests.begin()

            async def answer(message: MutableMapping[str, Any]) -> None:
                requests.end(token)
                await send(message)

            try:
                await app(scope, receive, answer)
            finally:
                requests.end(token)

        return guarded


def _guard(delay: float, latency: float | None, one_job_every: float, switch_interval: float | None) -> Guard:
    return Guard(delay=delay, latency=latency, one_job_every=one_job_every, switch_interval=switch_interval)
