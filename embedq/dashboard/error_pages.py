"""Responses to requests that are not let in or that fail early: JSON for the API, else a self-contained page."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping

from markupsafe import Markup
from starlette.responses import JSONResponse, Response

TITLES = {
    400: "Bad request", 401: "Password required", 403: "Forbidden", 404: "Not found", 405: "Method not allowed",
    413: "Request too large", 429: "Too many requests", 500: "The dashboard failed",
    503: "The queue cannot be read",
}  # fmt: skip
# Inline: the style sheet is served to authorized requests only.
_STYLE = """
:root { color-scheme: light dark }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: light-dark(#f6f7f9, #12161c); color: light-dark(#1a2029, #e4e8ee) }
main { max-width: 40rem; margin: 12vh auto; padding: 0 1.2rem; overflow-wrap: anywhere }
h1 { font-size: 1.35rem }
label { display: block; margin: 1.4rem 0 .3rem; font-weight: 600 }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: end }
form label { flex: 1 1 100%; margin-bottom: 0 }
input { flex: 1 1 16rem; min-width: 0 }
input, button { font: inherit; color: inherit; padding: .45rem .7rem; border-radius: 6px; background: light-dark(#fff, #1b212a); border: 1px solid light-dark(#8a94a3, #5d6877) }
button { background: light-dark(#1f5fd0, #2f6fe0); border-color: transparent; color: #fff; font-weight: 600; cursor: pointer }
:focus-visible { outline: 3px solid light-dark(#7aa7ff, #7aa7ff); outline-offset: 1px }
.quiet { color: light-dark(#535d6b, #9aa5b4); font-size: .93em }
.bad { color: light-dark(#b3261e, #ff9a92); font-weight: 600 }
code { font-family: ui-monospace, monospace }
"""  # noqa: E501
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGE = Markup(
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
    "<title>{title}</title><style>{style}</style></head>\n<body><main><h1>{title}</h1>{content}</main></body></html>\n"
)
_FORM = Markup("""
<p>Enter the token of this dashboard to see the jobs of its application.</p>{wrong}
<form method="post" action="{action}"><input type="hidden" name="next" value="{next}">
<input name="username" value="token" autocomplete="username" hidden>
<label for="token">Token</label><input id="token" name="token" type="password" autocomplete="current-password" required autofocus{invalid}>
<button>Continue</button></form>
<p class="quiet"><code>embedq dashboard --token</code> prints it; the application's log states how to log in.</p>
""")  # noqa: E501


def title(status: int) -> str:
    """Return the heading of an error page."""
    return TITLES.get(status, "Error")


def response(path: str, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as JSON or as a page.

    Args:
        path: the requested path within the dashboard.
        message: a sentence without its full stop.
    """
    if is_api(path):
        return JSONResponse({"error": message}, status_code=status, headers=headers)
    return _page(title(status), Markup("<p>{}.</p>").format(message), status, headers)


def token_page(
    action: str, next_: str, *, status: int, message: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Return the page with the form for the token.

    Args:
        action: the form's target.
        next_: the address to redirect to.
        message: why the last token was rejected.
    """
    wrong = Markup('<p class="bad" role="alert" id="wrong">{}.</p>').format(message.capitalize()) if message else ""
    invalid = Markup(' aria-invalid="true" aria-describedby="wrong"') if message else ""
    content = _FORM.format(action=action, next=next_, wrong=wrong, invalid=invalid)
    return _page("Token required", content, status, headers)


def _page(heading: str, content: Markup, status: int, headers: Mapping[str, str] | None) -> Response:
    html = _PAGE.format(title=heading, style=Markup(_STYLE), content=content)
    policy = {"Content-Security-Policy": _POLICY, "Content-Type": "text/html; charset=utf-8"}
    return Response(html, status_code=status, headers={**policy, **(headers or {})})


def is_api(path: str) -> bool:
    """Return whether a path belongs to the JSON API."""
    return path == "/api" or path.startswith("/api/")
