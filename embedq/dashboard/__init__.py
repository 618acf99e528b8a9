"""The dashboard: what is broken first, what goes on, and what can be done about it; in any WSGI or ASGI application.

    from embedq import dashboard

    app.mount("/embedq", dashboard.asgi())

It needs `pip install "embedq[dashboard]"`, calls no other host, and neither imports nor unpickles job code. Until
`authorize` or `basic_auth` is given it is open only to a browser on the same machine. See docs/dashboard.md.
"""

from embedq.errors import ConfigurationError

try:
    import jinja2  # noqa: F401
    import starlette  # noqa: F401
except ImportError as missing:
    raise ConfigurationError('the dashboard needs two packages more: pip install "embedq[dashboard]"') from missing

from embedq.dashboard.access import Access, Permission
from embedq.dashboard.extension import Column, Metric, Page
from embedq.dashboard.mounting import asgi, django, flask, wsgi
from embedq.dashboard.site import Site
from embedq.dashboard.visit import Visit
from embedq.redaction import SECRETS

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
    "wsgi",
]
