"""Custom pages, which the application has added."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup
from starlette.responses import Response

from embedq.dashboard.extension import Page
from embedq.dashboard.visit import Visit
from embedq.observability.log import get_logger

logger = get_logger("embedq.dashboard")


def handler(page: Page) -> Callable[[Visit], Response]:
    """Return the handler of a custom page."""

    def show(visit: Visit) -> Response:
        try:
            content = page.view(visit)
        except Exception:
            logger.exception("the page %r of the dashboard failed", page.title)
            return visit.page(
                "custom.html", page=page, content="This page failed; see the application's log.", html=False
            )
        if isinstance(content, Response):
            return content
        return visit.page("custom.html", page=page, content=content, html=isinstance(content, Markup))

    return show
