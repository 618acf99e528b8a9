"""The dashboard: problems first, then activity, and the actions on both; in any WSGI or ASGI application.

    from embedq import dashboard

    app.mount("/embedq", dashboard.asgi())

Requires `pip install "embedq[dashboard]"`. Contacts no other host, and neither imports nor unpickles job code. Without
`authorize` or `basic_auth` it requires a token, which `embedq dashboard --token` prints. See docs/dashboard.md.

`site` dispatches a request to a handler (`routes`, `pages`, `commands`, `api`), which receives a `Visit`. May import
`embedq` and all below, but not `testing`. Start reading in `visit.py`, then `site.py`.
"""

from embedq.errors import ConfigurationError

try:
    import jinja2  # noqa: F401
    import starlette  # noqa: F401
except ImportError as missing:
    raise ConfigurationError('the dashboard requires two more packages: pip install "embedq[dashboard]"') from missing

from embedq.dashboard.access import Access, Permission
from embedq.dashboard.columns import Column, Metric
from embedq.dashboard.extension import Page
from embedq.dashboard.mounting import asgi, django, flask, wsgi
from embedq.dashboard.site import Site
from embedq.dashboard.tokens import token
from embedq.dashboard.visit import Visit
from embedq.display.redaction import SECRETS

__all__ = [
    "SECRETS",
    "Access",
    "Column",
    "Metric",
    "Page",
    "Permission",
    "Site",
    "Visit",
    "asgi",
    "django",
    "flask",
    "token",
    "wsgi",
]
