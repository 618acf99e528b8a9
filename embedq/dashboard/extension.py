"""What an application can add to the dashboard: pages, columns of the list of jobs, and numbers on the overview.

    def orders(visit: Visit) -> Text: …

    asgi(pages=[Page(path="orders", title="Orders", view=orders)],
         columns=[Column(title="Customer", value=lambda job: customer_of(job))],
         metrics=[Metric(title="Open orders", value=count_orders)])

What these functions return is escaped; a page that makes HTML of its own returns `markupsafe.Markup`. They run on the
thread that answers the request, so they should be quick; where one fails, its place says so and the page goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedq.errors import ConfigurationError
from embedq.job import Job

if TYPE_CHECKING:
    from embedq.dashboard.visit import Visit

logger = logging.getLogger("embedq.dashboard")
_PATH = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the application's own, in the dashboard's frame.

    Attributes:
        path: its address under `/x/`: small letters, digits and hyphens.
        title: in the navigation and above the page.
        view: called for each request; returns text, or `markupsafe.Markup` for HTML.
        live: whether an open page is refreshed like the others.
    Raises:
        ConfigurationError: a path that cannot be one.
    """

    path: str
    title: str
    view: Callable[[Visit], Any]
    live: bool = True

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ConfigurationError(f"the page's path {self.path!r} must be small letters, digits and hyphens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column in lists of jobs.

    Attributes:
        value: called for each job that is shown; None leaves the cell empty.
    """

    title: str
    value: Callable[[Job], Any]

    def of(self, job: Job) -> Any:
        """The cell."""
        return _guarded(self.title, self.value, job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number on the overview.

    Attributes:
        value: called at each look at the overview.
        hint: a line below it.
    """

    title: str
    value: Callable[[], Any]
    hint: str = ""

    def now(self) -> Any:
        """What it is now."""
        return _guarded(self.title, self.value)


def _guarded(title: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        value = function(*args)
    except Exception:
        logger.exception("%r of the dashboard failed", title)
        return "failed; see the log"
    return "" if value is None else value
