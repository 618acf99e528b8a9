"""The Django project's `wsgi.py`."""

from __future__ import annotations

from django.core.wsgi import get_wsgi_application

from tests.webservers.sites import project

application = get_wsgi_application()

__all__ = ["application", "project"]
