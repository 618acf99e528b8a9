"""Pages that the application has added."""

from __future__ import annotations

import logging
from collections.abc import Callable

from markupsafe import Markup
from starlette.responses import Response

from embedq.dashboard.extension import Page
from embedq.dashboard.visit import Visit

logger = logging.getLogger("embedq.dashboard")


def handler(page: Page) -> Callable[[Visit], Response]:
    """What answers the page's address."""

    def show(visit: Visit) -> Response:
        try:
            content = page.view(visit)
        except Exception:
            logger.exception("the page %r of the dashboard failed", page.title)
            return visit.page(
                "own.html", page=page, content="This page failed; the application's log says how.", html=False
            )
        if isinstance(content, Response):
            return content
        return visit.page("own.html", page=page, content=content, html=isinstance(content, Markup))

    return show
