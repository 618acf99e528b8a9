"""Ways to put the dashboard into an application.

app.mount("/embedq", dashboard.asgi())                       # FastAPI, Starlette, any ASGI framework that mounts
dashboard.flask(app, "/embedq", authorize=…)                 # Flask, inside its app and request context
path("embedq/", dashboard.django(authorize=…))               # Django: a list for urlpatterns
DispatcherMiddleware(app, {"/embedq": dashboard.wsgi()})     # any WSGI application
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from embedq.dashboard.serving import AsgiDashboard, WsgiDashboard, scope_of
from embedq.dashboard.site import MAX_BODY, QueueSource, Site
from embedq.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask


def asgi(queue: QueueSource = None, **options: Any) -> AsgiDashboard:
    """The dashboard as an ASGI application.

    Args:
        queue: an `embedq.EmbedQ`, or a function that returns one for each request; the default app when None.
        options: of `embedq.dashboard.Site`.
    Raises:
        ConfigurationError: an option that cannot work.
    """
    return AsgiDashboard(Site(queue, **options))


def wsgi(queue: QueueSource = None, **options: Any) -> WsgiDashboard:
    """The dashboard as a WSGI application. Arguments and errors as for `asgi`."""
    return WsgiDashboard(Site(queue, **options))


def flask(app: Flask, path: str = "/embedq", queue: QueueSource = None, **options: Any) -> WsgiDashboard:
    """Add the dashboard to a Flask app under `path`; `authorize` may use `flask.session`, `current_user` and the like.

    Args:
        queue: as for `asgi`; None for the queue of `embedq.contrib.flask`, or else the default app.
    Raises:
        ConfigurationError: a path that cannot be one, or an option that cannot work.
    """
    from flask import request
    from werkzeug.wrappers import Response as WerkzeugResponse

    if not path.startswith("/") or len(path.strip("/")) == 0:
        raise ConfigurationError(f'path={path!r} must be a path of its own, such as "/embedq"')
    path = f"/{path.strip('/')}"

    def extension() -> Any:
        return app.extensions["embedq"].current

    dashboard = wsgi(queue if queue is not None or "embedq" not in app.extensions else extension, **options)

    def view(rest: str = "") -> Any:
        environ = dict(request.environ)
        # As a server mounts an application: the part of the path that led here is the name of the script.
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "").rstrip("/") + path
        environ["PATH_INFO"] = environ.get("PATH_INFO", "")[len(path) :]
        return WerkzeugResponse.from_app(dashboard, environ, buffered=True)

    # The dashboard has protection of its own against forged requests; Flask-WTF's would ask for its own token.
    csrf = app.extensions.get("csrf")
    if csrf is not None and hasattr(csrf, "exempt"):
        csrf.exempt(view)
    methods = ["GET", "HEAD", "POST"]
    app.add_url_rule(path, "embedq_dashboard", view, methods=methods, strict_slashes=False)
    app.add_url_rule(f"{path}/<path:rest>", "embedq_dashboard", view, methods=methods)
    return dashboard


def django(queue: QueueSource = None, **options: Any) -> tuple[list[Any], str, str]:
    """The dashboard for Django's `urlpatterns`: `path("embedq/", embedq.dashboard.django(authorize=…))`.

    `authorize` is called with the request as all others; Django's own is in its scope:
    `authorize=lambda request: request.scope["django"].user.is_staff`.

    Args:
        queue: as for `asgi`.
    Raises:
        ConfigurationError: as for `asgi`.
    """
    from django.http import HttpResponse
    from django.urls import re_path
    from django.views.decorators.csrf import csrf_exempt

    site = Site(queue, **options)

    def view(request: Any, rest: str) -> Any:
        scope = scope_of({"wsgi.url_scheme": request.scheme, "REQUEST_METHOD": request.method, **request.META})
        full = request.path
        scope.update(root_path=full[: len(full) - len(rest)].rstrip("/"), path=full, django=request)
        large = int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY
        answer = site.too_large(f"/{rest}") if large else site.respond(Request(scope), request.body)
        response = HttpResponse(bytes(answer.body), status=answer.status_code)
        del response.headers["Content-Type"]
        for name, value in answer.headers.items():
            if name != "set-cookie":
                response.headers[name] = value
        for cookie in answer.headers.getlist("set-cookie"):
            response.cookies.load(cookie)
        return response

    # The dashboard has protection of its own against forged requests.
    return [re_path(r"^(?P<rest>.*)$", csrf_exempt(view), name="page")], "embedq_dashboard", "embedq_dashboard"
