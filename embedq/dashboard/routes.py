"""The table of paths and their handlers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from starlette.responses import Response
from starlette.routing import compile_path

from embedq.dashboard import api, commands, limiting, login, pausing
from embedq.dashboard.extension import Page
from embedq.dashboard.pages import audit, custom, dead, job, jobs, limits, overview, queues, recurring, servers, tasks
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
    ("GET", "/recurring/of", recurring.one),
    ("GET", "/recurring/of/{name:path}", recurring.one),
    ("GET", "/queues", queues.show),
    ("GET", "/limits", limits.show),
    ("GET", "/servers", servers.show),
    ("GET", "/tasks", tasks.show),
    ("GET", "/tasks/of", tasks.one),
    ("GET", "/tasks/of/{name:path}", tasks.one),
    ("GET", "/audit", audit.show),
    ("GET", "/audit/{action_id:int}", audit.one),
    ("POST", "/act", commands.act),
    ("POST", "/audit/{action_id:int}/{verb}", commands.steer),
    ("POST", "/recurring/{verb}", commands.schedule),
    ("POST", "/holds/{verb}", pausing.change),
    ("POST", "/limits/set", limiting.change),
    ("POST", "/logout", login.leave),
]


class Routes:
    """Finds the handler of a request.

    Args:
        pages: custom pages of the application.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        added = [("GET", f"/x/{page.path}", custom.handler(page)) for page in pages]
        self._routes = [
            (method, *compile_path(path)[::2], handler) for method, path, handler in [*PAGES, *api.ROUTES, *added]
        ]

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, Any]]:
        """Return the handler of a path and the parameters in the path.

        Raises:
            NotFound: no handler matches.
            WrongMethod: only handlers for other methods match.
        """
        path = path.rstrip("/") or "/"
        others = []
        for route_method, regex, convertors, handler in self._routes:
            found = regex.match(path)
            if found and route_method != method:
                others.append(route_method)
            elif found:
                try:
                    return handler, {name: convertors[name].convert(text) for name, text in found.groupdict().items()}
                except ValueError:
                    # Python does not parse numbers of thousands of digits.
                    raise NotFound("no such page") from None
        if others:
            raise WrongMethod(others)
        raise NotFound("no such page")
