"""The Django project's `asgi.py`."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

from tests.webservers.sites import project

application = get_asgi_application()

__all__ = ["application", "project"]
