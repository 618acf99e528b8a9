"""Extensions of the dashboard: custom pages, and columns and metrics (`columns`) on its own pages.

    def orders(visit: Visit) -> Text: …

    asgi(pages=[Page(path="orders", title="Orders", view=orders)],
         columns=[Column(title="Customer", value=lambda job: customer_of(job))],
         metrics=[Metric(title="Open orders", value=count_orders)])

Returned text is escaped; a page that returns HTML uses `markupsafe.Markup`. The functions run on the thread of the
request and should be fast; if one fails, an error is shown in its place and the rest of the page is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedq.dashboard.visit import Visit
from embedq.errors import ConfigurationError

_PATH = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A custom page of the application, within the dashboard's layout.

    Attributes:
        path: its address under `/x/`: lowercase letters, digits and hyphens.
        title: shown in the navigation and above the page.
        view: called for each request; returns text, or `markupsafe.Markup` for HTML.
        live: whether an open page is refreshed.
    Raises:
        ConfigurationError: an invalid path.
    """

    path: str
    title: str
    view: Callable[[Visit], Any]
    live: bool = True

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ConfigurationError(f"the page's path {self.path!r} must be lowercase letters, digits and hyphens")
