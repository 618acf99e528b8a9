"""Web sites that have the dashboard mounted, served by one process for the tests in a browser.

    python -m tests.dashboard.sites URL      # writes {"flask": "http://127.0.0.1:1234/ops/embedq/?token=…", …}

Flask, FastAPI and Django serve it under a prefix, the stand-alone one has none; `proxy` is FastAPI behind a reverse
proxy that takes off a prefix of its own; and `asks` is behind that, too, without being told whom to let in. `empty` has
a database of its own without a job, and may only be looked at.
All but `proxy` ask for the token that is written behind their addresses.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn
from fastapi import FastAPI
from flask import Flask
from markupsafe import Markup
from werkzeug.serving import make_server

from embedq import EmbedQ, dashboard
from tests.dashboard.showcase import make

PREFIX = "/ops/embedq"
OUTER = "/behind/proxy"


def options() -> dict[str, Any]:
    return {
        "refresh": 1,
        "pages": [dashboard.Page(path="own", title="Own page", view=lambda visit: Markup("<h2>Made here</h2>"))],
        "metrics": [dashboard.Metric(title="open orders", value=lambda: 17)],
        "columns": [dashboard.Column(title="Customer", value=lambda job: f"customer {job.id % 7}")],
    }


def serve_wsgi(app: Any) -> int:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_port)


def serve_asgi(app: Any) -> int:
    config = uvicorn.Config(app, port=0, log_level="error")
    sockets = [config.bind_socket()]
    # Whoever is told the port may go there at once.
    sockets[0].listen()
    port = int(sockets[0].getsockname()[1])
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, args=(sockets,), daemon=True).start()
    return port


def flask_site(queue: EmbedQ) -> Flask:
    site = Flask("shop")
    dashboard.flask(site, PREFIX, queue, **options())
    return site


def fastapi_site(queue: EmbedQ, **more: Any) -> FastAPI:
    site = FastAPI()
    site.mount(PREFIX, dashboard.asgi(queue, **options(), **more))
    return site


def django_site(queue: EmbedQ) -> Any:
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.urls import path

    settings.configure(
        SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware", "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
    )  # fmt: skip
    django.setup()
    urlpatterns.append(path(f"{PREFIX.strip('/')}/", dashboard.django(queue, **options())))
    return get_wsgi_application()


urlpatterns: list[Any] = []


class Proxy(BaseHTTPRequestHandler):
    """A reverse proxy as nginx with `location /behind/proxy/ { proxy_pass http://upstream/; }`."""

    protocol_version = "HTTP/1.1"
    upstream: int

    def do_GET(self) -> None:
        self.forward(None)

    def do_POST(self) -> None:
        self.forward(self.rfile.read(int(self.headers["Content-Length"])))

    def forward(self, body: bytes | None) -> None:
        assert self.path.startswith(OUTER)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        headers |= {"Host": "shop.example", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Prefix": OUTER}
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.upstream}{self.path.removeprefix(OUTER)}", body, headers, method=self.command
        )
        try:
            answer = urllib.request.build_opener(Unmoved).open(asked, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Unmoved(urllib.request.HTTPRedirectHandler):
    """Redirects are the browser's."""

    def redirect_request(self, *args: Any) -> None:
        return None


def serve_proxy(upstream: int) -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (Proxy,), {"upstream": upstream}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def main(url: str) -> None:
    logging.disable(logging.WARNING)
    queue = EmbedQ(url, stop_timeout=3).connect()
    show = make(queue)
    inner = serve_asgi(fastapi_site(queue, authorize=lambda request: True))
    closed = serve_asgi(fastapi_site(queue))
    folder = tempfile.TemporaryDirectory()
    nothing = EmbedQ(f"sqlite:///{folder.name}/empty.db").connect()
    found = {
        "flask": (serve_wsgi(flask_site(queue)), PREFIX),
        "fastapi": (closed, PREFIX),
        "django": (serve_wsgi(django_site(queue)), PREFIX),
        "alone": (serve_asgi(dashboard.asgi(queue, **options())), ""),
        "proxy": (serve_proxy(inner), OUTER + PREFIX),
        "asks": (serve_proxy(closed), OUTER + PREFIX),
        "empty": (serve_asgi(dashboard.asgi(nothing, read_only=True)), ""),
    }
    tokens = {name: dashboard.token(queue) for name in found} | {"empty": dashboard.token(nothing, read_only=True)}
    print(
        json.dumps(
            {name: f"http://127.0.0.1:{port}{path}/?token={tokens[name]}" for name, (port, path) in found.items()}
        ),
        flush=True,
    )
    # Until the test that reads this is over.
    sys.stdin.read()
    show.stop.set()
    queue.stop()
    nothing.close()
    folder.cleanup()


if __name__ == "__main__":
    main(sys.argv[1])
