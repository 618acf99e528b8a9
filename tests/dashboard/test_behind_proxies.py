"""Behind real proxies and servers nobody is let in without the token, whatever these add, change or take away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import waitress.server
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount

from embedq import EmbedQ, dashboard
from tests.dashboard import nginx
from tests.dashboard.sites import serve_asgi, serve_proxy, serve_wsgi

needs_nginx = pytest.mark.skipif(not nginx.is_there(), reason="nginx is not installed")

KEPT_ALIVE = ("proxy_http_version 1.1", 'proxy_set_header Connection ""')
AS_A_BROWSER_HERE = (*KEPT_ALIVE, "proxy_set_header Host localhost")
FORWARDED = (
    "proxy_set_header Host $host",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for",
    "proxy_set_header X-Forwarded-Proto $scheme",
)


@pytest.fixture
def shop(app: EmbedQ) -> EmbedQ:
    @app.job(name="mail:send")
    def send() -> None: ...

    return app


@contextmanager
def waitress_serves(application: Any, **options: Any) -> Iterator[int]:
    """Waitress takes off what proxies have added, unless it is told of a proxy."""
    server = waitress.server.create_server(application, host="127.0.0.1", port=0, threads=2, **options)

    def run() -> None:
        # It may be closed while it looks at its sockets.
        with suppress(OSError):
            server.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield int(server.effective_port)
    finally:
        server.close()
        thread.join(20)


def assert_only_the_token_lets_in(queue: EmbedQ, base: str) -> None:
    """Neither a page nor a change gets through, under any name of the host, until the token is sent."""
    call = {"task": "mail:send"}
    for headers in ({}, {"Host": "localhost"}, {"Host": "127.0.0.1"}, {"Host": "shop.example"}):
        with httpx.Client(base_url=base, headers=headers, timeout=20) as client:
            for path in ("/", "/jobs", "/static/dashboard.js", "/api/stats", "/api/jobs"):
                assert client.get(f"/ops{path}").status_code == 401, (headers, path)
            assert client.post("/ops/api/jobs", json=call).status_code == 401
            assert client.post("/ops/act", data={"verb": "cancel", "ids": "1"}).status_code == 401
    assert queue.count_jobs() == 0
    with httpx.Client(base_url=base, follow_redirects=True, timeout=20) as client:
        page = client.get("/ops/jobs", params={"token": dashboard.token(queue)})
        assert page.status_code == 200
        assert page.url.path == "/ops/jobs"
        assert "token" not in str(page.url)
        assert client.post("/ops/api/jobs", json=call).status_code == 201
    assert queue.count_jobs() == 1


def flask_site(queue: EmbedQ) -> Flask:
    site = Flask("shop")
    dashboard.flask(site, "/ops", queue)
    return site


def starlette_site(queue: EmbedQ) -> Starlette:
    return Starlette(routes=[Mount("/ops", dashboard.asgi(queue))])


@needs_nginx
@pytest.mark.parametrize(
    "directives",
    [(), KEPT_ALIVE, AS_A_BROWSER_HERE, FORWARDED, (*KEPT_ALIVE, *FORWARDED)],
    ids=["stock", "kept alive", "Host: localhost", "forwarded", "kept alive and forwarded"],
)
@pytest.mark.parametrize("make", [flask_site, starlette_site])
def test_behind_nginx(shop: EmbedQ, tmp_path: Path, directives: tuple[str, ...], make: Any) -> None:
    site = make(shop)
    port = serve_wsgi(site) if isinstance(site, Flask) else serve_asgi(site)
    with nginx.proxying(tmp_path, port, *directives) as base:
        assert_only_the_token_lets_in(shop, base)


def test_behind_waitress(shop: EmbedQ) -> None:
    with waitress_serves(flask_site(shop)) as port:
        assert_only_the_token_lets_in(shop, f"http://127.0.0.1:{port}")


@needs_nginx
@pytest.mark.parametrize("options", [{}, {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": "x-forwarded-for"}])
def test_behind_nginx_before_waitress(shop: EmbedQ, tmp_path: Path, options: dict[str, Any]) -> None:
    with (
        waitress_serves(flask_site(shop), **options) as port,
        nginx.proxying(tmp_path, port, *AS_A_BROWSER_HERE) as base,
    ):
        assert_only_the_token_lets_in(shop, base)


@needs_nginx
def test_behind_nginx_with_a_prefix_one_stays_in_the_dashboard(shop: EmbedQ, tmp_path: Path) -> None:
    port = serve_asgi(starlette_site(shop))
    directives = (*KEPT_ALIVE, "rewrite ^/outer/(.*)$ /$1 break", "proxy_set_header X-Forwarded-Prefix /outer")
    with nginx.proxying(tmp_path, port, *directives) as base, httpx.Client(base_url=base, timeout=20) as client:
        answer = client.get("/outer/ops/jobs", params={"token": dashboard.token(shop)})
        assert answer.headers["location"] == "/outer/ops/jobs"
        assert "path=/outer/ops;" in answer.headers["set-cookie"].lower()
        assert client.get("/outer/ops/jobs").status_code == 200


def test_a_browser_on_this_machine_needs_the_token_too(shop: EmbedQ) -> None:
    assert_only_the_token_lets_in(shop, f"http://127.0.0.1:{serve_wsgi(flask_site(shop))}")


def test_behind_a_proxy_in_python(shop: EmbedQ) -> None:
    """The one of the browser's tests: it takes off a prefix and forwards as another host."""
    base = f"http://127.0.0.1:{serve_proxy(serve_asgi(starlette_site(shop)))}/behind/proxy"
    with httpx.Client(timeout=20) as client:
        assert client.get(f"{base}/ops/jobs").status_code == 401
        assert client.get(f"{base}/ops/?token={dashboard.token(shop)}").status_code == 303
        assert client.get(f"{base}/ops/jobs").status_code == 200
