"""Which handler answers which address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from starlette.responses import Response
from starlette.routing import compile_path

from embedq.dashboard import actions, api
from embedq.dashboard.extension import Page
from embedq.dashboard.pages import audit, dead, job, jobs, overview, own, queues, recurring, servers, tasks
from embedq.dashboard.visit import NotFound, Visit, WrongMethod

Handler: TypeAlias = Callable[[Visit], Response]

PAGES: list[tuple[str, str, Handler]] = [
    ("GET", "/", overview.show),
    ("GET", "/jobs", jobs.show),
    ("GET", "/search", jobs.search),
    ("GET", "/jobs/{job_id:int}", job.show),
    ("GET", "/jobs/{job_id:int}/logs", job.logs),
    ("GET", "/jobs/{job_id:int}/stack", job.stack),
    ("GET", "/dead", dead.show),
    ("GET", "/recurring", recurring.show),
    ("GET", "/recurring/calendar", recurring.calendar),
    ("GET", "/recurring/of/{name:path}", recurring.one),
    ("GET", "/queues", queues.show),
    ("GET", "/servers", servers.show),
    ("GET", "/tasks", tasks.show),
    ("GET", "/tasks/of/{name:path}", tasks.one),
    ("GET", "/audit", audit.show),
    ("GET", "/audit/{action_id:int}", audit.one),
    ("POST", "/act", actions.act),
    ("POST", "/audit/{action_id:int}/{verb}", actions.steer),
    ("POST", "/recurring/{verb}", actions.schedule),
]


class Routes:
    """Finds handlers.

    Args:
        pages: the user's own.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        added = [("GET", f"/x/{page.path}", own.handler(page)) for page in pages]
        self._routes = [
            (method, *compile_path(path)[::2], handler) for method, path, handler in [*PAGES, *api.ROUTES, *added]
        ]

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, Any]]:
        """The handler of an address, and what the address holds.

        Raises:
            NotFound: there is none.
            WrongMethod: there is, for another method.
        """
        path = path.rstrip("/") or "/"
        others = []
        for wanted, regex, convertors, handler in self._routes:
            found = regex.match(path)
            if found and wanted != method:
                others.append(wanted)
            elif found:
                return handler, {name: convertors[name].convert(text) for name, text in found.groupdict().items()}
        if others:
            raise WrongMethod(others)
        raise NotFound("there is no such page")
