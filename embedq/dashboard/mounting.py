"""Functions that mount the dashboard in an application.

app.mount("/embedq", dashboard.asgi())                       # FastAPI, Starlette, any ASGI framework that mounts
dashboard.flask(app, "/embedq", authorize=…)                 # Flask, inside its app and request context
path("embedq/", dashboard.django(authorize=…))               # Django: a list for urlpatterns
DispatcherMiddleware(app, {"/embedq": dashboard.wsgi()})     # any WSGI application
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request

from embedq.dashboard.access import Access
from embedq.dashboard.responses import LEFT_TO_FRAMEWORK
from embedq.dashboard.serving import AsgiDashboard, WsgiDashboard, in_chunks, length_of, scope_of
from embedq.dashboard.site import MAX_BODY, QueueSource, Site
from embedq.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask
    from flask import Request as FlaskRequest


# The name of the dashboard's routes in a framework.
NAME = "embedq_dashboard"
_in_django = itertools.count(1)


def asgi(queue: QueueSource = None, **options: Any) -> AsgiDashboard:
    """Return the dashboard as an ASGI application.

    Args:
        queue: an `embedq.EmbedQ`, or a function that returns one for each request; the default app when None.
        options: of `embedq.dashboard.Site`.
    Raises:
        ConfigurationError: an invalid option.
    """
    return AsgiDashboard(Site(queue, **options))


def wsgi(queue: QueueSource = None, **options: Any) -> WsgiDashboard:
    """Return the dashboard as a WSGI application. Arguments and errors as for `asgi`."""
    return WsgiDashboard(Site(queue, **options))


def flask(app: Flask, path: str = "/embedq", queue: QueueSource = None, **options: Any) -> WsgiDashboard:
    """Add the dashboard to a Flask app under `path`; `authorize` may use `flask.session`, `current_user` and the like.

    Args:
        queue: as for `asgi`; None for the queue of `embedq.contrib.flask`, else the default app.
    Raises:
        ConfigurationError: an invalid path or option.
    """
    from flask import request
    from werkzeug.exceptions import HTTPException
    from werkzeug.wrappers import Response as WerkzeugResponse

    if not path.startswith("/") or len(path.strip("/")) == 0:
        raise ConfigurationError(f'path={path!r} must be a path of its own, such as "/embedq"')
    path = f"/{path.strip('/')}"
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(NAME)]
    others = {rule.rule for rule in rules if "rest" not in rule.arguments}
    if path in others:
        raise ConfigurationError(f"path={path!r} has a dashboard already; give each one a path of its own")
    endpoint = _another(len(others) + 1)

    def extension() -> Any:
        return app.extensions["embedq"].current

    dashboard = wsgi(queue if queue is not None or "embedq" not in app.extensions else extension, **options)

    def view(rest: str = "", **_of_the_path: Any) -> Any:
        environ = dict(request.environ)
        # As servers mount a WSGI application: the mount path is the SCRIPT_NAME.
        mount_path = request.path[: len(request.path) - len(rest)].rstrip("/")
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "").rstrip("/") + _as_wsgi(mount_path)
        environ["PATH_INFO"] = "/" + _as_wsgi(rest)
        if length_of(environ) <= MAX_BODY:
            body = _sent(request)
            environ.update({"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})
        # The app's error handlers handle the exceptions of abort().
        environ[LEFT_TO_FRAMEWORK] = (HTTPException,)
        return WerkzeugResponse.from_app(dashboard, environ, buffered=True)

    # The dashboard has its own CSRF protection; that of Flask-WTF would require a second token.
    csrf = app.extensions.get("csrf")
    if csrf is not None and hasattr(csrf, "exempt"):
        csrf.exempt(view)
    methods = ["GET", "HEAD", "POST"]
    app.add_url_rule(path, endpoint, view, methods=methods, strict_slashes=False)
    app.add_url_rule(f"{path}/<path:rest>", endpoint, view, methods=methods)
    return dashboard


def django(
    queue: QueueSource = None, *, wrap: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None, **options: Any
) -> tuple[list[Any], str, str]:
    """Return the dashboard for Django's `urlpatterns`: `path("embedq/", dashboard.django(wrap=staff_member_required))`.

    `authorize` is called with a Starlette request, whose scope holds that of Django:
    `authorize=lambda request: request.scope["django"].user.is_staff`.

    Args:
        queue: as for `asgi`.
        wrap: a view decorator that checks access: `login_required`, `staff_member_required`, `admin.site.admin_view`.
            Without `authorize` too, all users that it lets through have all permissions.
    Raises:
        ConfigurationError: as for `asgi`.
    """
    from django.core.exceptions import PermissionDenied, SuspiciousOperation
    from django.db import connections, transaction
    from django.http import Http404, HttpResponse
    from django.urls import re_path
    from django.views.decorators.csrf import csrf_exempt

    if wrap is not None and not {"authorize", "basic_auth", "token"} & options.keys():
        options["authorize"] = _of_django
    site = Site(queue, **options)

    def view(request: Any, rest: str, **_of_the_path: Any) -> Any:
        scope = scope_of({"wsgi.url_scheme": request.scheme, "REQUEST_METHOD": request.method, **request.META})
        full = request.path
        scope.update(root_path=full[: len(full) - len(rest)].rstrip("/"), path=full, django=request)
        scope[LEFT_TO_FRAMEWORK] = (PermissionDenied, SuspiciousOperation, Http404)
        # Django treats a chunked body as empty.
        body = b"" if length_of(request.META) > MAX_BODY else request.body or in_chunks(request.META)
        large = length_of(request.META) > MAX_BODY or len(body) > MAX_BODY
        result = site.too_large(f"/{rest}") if large else site.respond(Request(scope), body)
        response = HttpResponse(bytes(result.body), status=result.status_code)
        del response.headers["Content-Type"]
        for name, value in result.headers.items():
            if name != "set-cookie":
                response.headers[name] = value
        for cookie in result.headers.getlist("set-cookie"):
            response.cookies.load(cookie)
        return response

    # The dashboard has its own CSRF protection.
    exempt = csrf_exempt(view)
    shown = exempt if wrap is None else csrf_exempt(wrap(exempt))
    for alias in connections:
        # ATOMIC_REQUESTS would hold a transaction open, and with SQLite its lock, while embedq writes beside it.
        shown = transaction.non_atomic_requests(using=alias)(shown)
    # Django requires unique names; `NAME` alone finds each of them.
    return [re_path(r"^(?P<rest>.*)$", shown, name="page")], NAME, _another(next(_in_django))


def _another(number: int) -> str:
    """Return the route name of the dashboard with this number; the first is number 1."""
    return NAME if number == 1 else f"{NAME}_{number}"


def _as_wsgi(path: str) -> str:
    """Encode a path for WSGI, which holds bytes as Latin-1."""
    return path.encode("utf-8").decode("latin-1")


def _sent(request: FlaskRequest) -> bytes:
    """Return the body of a request. If the application has already parsed a form, it is encoded again."""
    unread = request.stream.read(MAX_BODY + 1)
    return unread or request.get_data() or urlencode(list(request.form.items(multi=True))).encode("ascii")


def _of_django(request: Request) -> Access:
    """Return full access for the user that the view's decorator has let through."""
    return Access(user=request.scope["django"].user.get_username())
