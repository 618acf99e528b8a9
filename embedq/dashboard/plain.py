"""An answer for who is not let in, or whose request fails before there is a page to show.

JSON for programs; for people a page that needs nothing but itself.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping

from markupsafe import Markup
from starlette.responses import JSONResponse, Response

TITLES = {
    401: "A password is needed", 403: "Not allowed", 404: "Not here", 405: "Not in this way", 413: "Too large",
    500: "The dashboard failed",
}  # fmt: skip
# The style sheet is for those who are let in.
_STYLE = """
:root { color-scheme: light dark }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: light-dark(#f6f7f9, #12161c); color: light-dark(#1a2029, #e4e8ee) }
main { max-width: 40rem; margin: 12vh auto; padding: 0 1.2rem; overflow-wrap: anywhere }
h1 { font-size: 1.35rem }
"""  # noqa: E501
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = Markup(
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
    "<title>{title}</title><style>{style}</style></head>\n<body><main><h1>{title}</h1><p>{message}.</p></main></body></html>\n"
)


def answer(path: str, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """What is said instead of a page.

    Args:
        path: what was asked for, within the dashboard.
        message: a sentence without its full stop.
    """
    if is_api(path):
        return JSONResponse({"error": message}, status_code=status, headers=headers)
    html = _PAGE.format(title=TITLES.get(status, "It did not work"), style=Markup(_STYLE), message=message)
    policy = {"Content-Security-Policy": _POLICY, "Content-Type": "text/html; charset=utf-8"}
    return Response(html, status_code=status, headers={**policy, **(headers or {})})


def is_api(path: str) -> bool:
    """Whether a program asks."""
    return path == "/api" or path.startswith("/api/")
