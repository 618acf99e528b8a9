"""One line of MIDDLEWARE switches the guard on, and lets it observe the requests.

MIDDLEWARE = ["embedq.contrib.django.guard_requests", ...]

`EMBEDQ["guard"]` may be an `embedq.Guard` with other thresholds; False switches it off again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware

from embedq import default_app


@sync_and_async_middleware
def guard_requests(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Middleware of Django. Put it first: what comes before it is not observed."""
    if iscoroutinefunction(get_response):

        async def guarded_async(request: Any) -> Any:
            with _watched():
                return await get_response(request)

        return guarded_async

    def guarded(request: Any) -> Any:
        with _watched():
            return get_response(request)

    return guarded


@contextmanager
def _watched() -> Iterator[None]:
    guard = default_app().settings.guard
    if guard is None:
        yield
        return
    token = guard.requests.begin()
    try:
        yield
    finally:
        guard.requests.end(token)
