"""Ways to put the dashboard into an application, and what it asks of the process around it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from embedq import ConfigurationError, EmbedQ, dashboard
from embedq.contrib.flask import EmbedQ as Extension
from embedq.dashboard import Access
from embedq.dashboard.serving import AsgiDashboard
from tests.dashboard.visitors import Visitor, token_of
from tests.support import ROOT

LOCAL = {"REMOTE_ADDR": "127.0.0.1", "SERVER_PROTOCOL": "HTTP/1.1"}
HOST = {"base_url": "http://localhost", "environ_overrides": LOCAL}


def links(html: str) -> set[str]:
    return set(re.findall(r'(?:src|href|action|hx-get)="(/[^"#]*)"', html))


def bearer(app: EmbedQ) -> dict[str, str]:
    return {"Authorization": f"Bearer {dashboard.token(app)}"}


def asgi_client(site: AsgiDashboard, path: str = "/ops") -> TestClient:
    """Somebody who has the token, where one is asked for."""
    headers = {} if site.site.login is None else {"Authorization": f"Bearer {token_of(site.site)}"}
    return TestClient(Starlette(routes=[Mount(path, site)]), base_url="http://localhost", headers=headers)


def run(script: str, folder: Path) -> None:
    """Run it by a Python of its own, in the folder."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_in_starlette_and_fastapi(app: EmbedQ) -> None:
    client = asgi_client(dashboard.asgi(app))
    job = app.enqueue_in(60, print, 1)
    page = client.get(f"/ops/jobs/{job.id}")
    assert page.status_code == 200
    assert all(link.startswith("/ops/") for link in links(page.text))
    token = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert token
    answer = client.post("/ops/act", data={"verb": "cancel", "ids": job.id, "csrf": token[1]})
    assert "Cancelled 1 job" in answer.text
    assert job.state == "cancelled"


def test_by_itself_as_an_application(app: EmbedQ) -> None:
    with TestClient(dashboard.asgi(app), headers=bearer(app)) as client:
        assert "/jobs" in links(client.get("/").text)


@pytest.mark.parametrize("lets_in", [True, False])
def test_authorize_may_be_asynchronous_under_asgi(app: EmbedQ, lets_in: bool) -> None:
    async def authorize(request: Request) -> Access | bool:
        return lets_in and Access(user=request.headers["x-user"])

    client = asgi_client(dashboard.asgi(app, authorize=authorize))
    answer = client.get("/ops/audit", headers={"x-user": "ada"})
    assert answer.status_code == (200 if lets_in else 403)
    assert ("ada" in answer.text) is lets_in


def test_asynchronous_authorize_under_wsgi_is_a_mistake_that_admits_no_one(
    app: EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    async def authorize(request: Request) -> bool:
        return True

    assert Visitor(dashboard.wsgi(app, authorize=authorize)).get("/").status_code == 500
    assert "asgi()" in caplog.text


def test_an_asynchronous_authorize_that_fails_admits_no_one(app: EmbedQ) -> None:
    async def authorize(request: Request) -> bool:
        raise RuntimeError("the session store is down")

    client = asgi_client(dashboard.asgi(app, authorize=authorize))
    answer = client.get("/ops/")
    assert answer.status_code == 500
    assert "session store" not in answer.text


def test_under_flask_authorize_sees_the_session(app: EmbedQ) -> None:
    site = Flask("shop")
    site.secret_key = "x"
    site.add_url_rule("/login", view_func=lambda: session.update(user="ada") or "in")
    dashboard.flask(site, "/ops", app, authorize=lambda request: "user" in session and Access(user=session["user"]))
    client = site.test_client()
    assert client.get("/ops/").status_code == 403
    client.get("/login")
    page = client.get("/ops/audit")
    assert page.status_code == 200
    assert "ada" in page.text
    assert all(link.startswith("/ops/") for link in links(page.text))
    assert client.get("/ops").status_code == 200


def test_the_flask_extensions_queue_is_found(tmp_path: Path) -> None:
    site = Flask("shop", instance_path=str(tmp_path))
    site.config.update(EMBEDQ_URL=f"sqlite:///{tmp_path}/flask.db", TESTING=True)
    queue = Extension(site)
    dashboard.flask(site)
    with site.app_context():
        job = queue.enqueue_in(60, print, "of the extension")
        known = bearer(queue.current)
    page = site.test_client().get(f"/embedq/jobs/{job.id}", headers=known)
    assert "of the extension" in page.text
    with site.app_context():
        queue.current.close()


def test_under_django_authorize_sees_its_request(tmp_path: Path) -> None:
    script = """
        import django
        from django.conf import settings
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
        ], SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
        django.setup()
        from django.http import HttpResponse
        from django.test import Client
        from django.urls import path
        import embedq
        queue = embedq.EmbedQ("sqlite:///jobs.db").connect()
        job = queue.enqueue_in(60, print, 1)

        def login(request):
            request.session["user"] = "ada"
            return HttpResponse("in")

        def authorize(request):
            user = request.scope["django"].session.get("user")
            return user is not None and embedq.dashboard.Access(user=user)

        urlpatterns = [path("login", login), path("ops/", embedq.dashboard.django(queue, authorize=authorize))]
        client = Client(enforce_csrf_checks=True)
        assert client.get("/ops/").status_code == 403
        client.get("/login")
        page = client.get(f"/ops/jobs/{job.id}")
        assert page.status_code == 200 and b"ada" in page.content, page.content
        import re
        token = re.search(rb'name="csrf" value="(\\w+)"', page.content)[1].decode()
        form = f"verb=cancel&ids={job.id}&csrf={token}"
        sent = client.generic("POST", "/ops/act", form, content_type="application/x-www-form-urlencoded")
        assert sent.status_code == 303 and sent["Location"] == "/ops/jobs", (sent.status_code, sent.content)
        assert job.state == "cancelled"
        assert client.get("/ops/static/dashboard.css")["Content-Type"].startswith("text/css")
    """
    run(script, tmp_path)


def test_a_path_that_would_take_the_whole_site_is_refused(app: EmbedQ) -> None:
    for path in ("", "/", "ops"):
        with pytest.raises(ConfigurationError, match="path"):
            dashboard.flask(Flask("shop"), path, app)


def test_one_flask_app_has_several_dashboards(app: EmbedQ) -> None:
    flask = Flask("shop")
    for path, access in (("/ops", Access(user="ada")), ("/look", Access.read_only("eve")), ("/a/third", Access())):
        dashboard.flask(flask, path, app, authorize=lambda request, access=access: access)
    client = flask.test_client()
    app.enqueue(print)
    assert [client.post(f"{path}/api/jobs/1/cancel", json={}).status_code for path in ("/look", "/ops")] == [403, 200]
    assert client.get("/a/third/jobs").status_code == 200
    with pytest.raises(ConfigurationError, match="has a dashboard already"):
        dashboard.flask(flask, "/ops/", app)


def test_django_has_no_complaint_about_several_dashboards(tmp_path: Path) -> None:
    script = """
        import django
        from django.conf import settings
        settings.configure(SECRET_KEY="x", ROOT_URLCONF="__main__")
        django.setup()
        from django.core.checks.urls import check_url_namespaces_unique
        from django.urls import path, reverse
        from embedq import dashboard
        urlpatterns = [path("admin/jobs/", dashboard.django()), path("jobs/", dashboard.django())]
        print([warning.msg for warning in check_url_namespaces_unique(None)])
        print([reverse(f"{name}:page", args=["jobs"]) for name in ("embedq_dashboard", "embedq_dashboard_2")])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["[]", "['/admin/jobs/jobs', '/jobs/jobs']"], done.stderr


def test_in_any_wsgi_application_behind_a_proxy_that_is_trusted(app: EmbedQ) -> None:
    outer = DispatcherMiddleware(
        lambda environ, start: [], {"/ops": dashboard.wsgi(app, authorize=lambda request: True)}
    )
    client = Client(ProxyFix(outer, x_prefix=1))
    page = client.get("/ops/audit", headers={"X-Forwarded-Prefix": "/outer"}, **HOST)
    assert page.status_code == 200
    assert all(link.startswith("/outer/ops/") for link in links(page.text)), links(page.text)


def test_names_that_are_not_ascii_find_their_way(app: EmbedQ) -> None:
    app.recurring("Müll – täglich/ü", "@daily", print)
    visitor = Visitor(dashboard.wsgi(app))
    [link] = [link for link in links(visitor.get("/recurring").text) if "/of" in link]
    assert "Müll – täglich/ü" in visitor.get(link).text
    page = asgi_client(dashboard.asgi(app)).get(link.replace("/ops/embedq", "/ops"))
    assert "Müll – täglich/ü" in page.text


def test_too_much_is_not_read(app: EmbedQ) -> None:
    token = "x" * 2_100_000
    assert Visitor(dashboard.wsgi(app)).post("/act", {"csrf": token}, token=False).status_code == 413
    assert asgi_client(dashboard.asgi(app)).post("/ops/act", data={"csrf": token}).status_code == 413


def test_a_head_request_has_no_body_and_a_socket_is_closed(app: EmbedQ) -> None:
    answer = Client(dashboard.wsgi(app)).head("/jobs", headers=bearer(app), **HOST)
    assert (answer.status_code, answer.text) == (200, "")
    with pytest.raises(WebSocketDisconnect), asgi_client(dashboard.asgi(app)).websocket_connect("/ops/"):
        pass


def test_importing_embedq_loads_nothing_of_it_and_looking_at_jobs_imports_no_job_code(tmp_path: Path) -> None:
    (tmp_path / "shopjobs.py").write_text("raise SystemExit('job code was imported')\n")
    script = """
        import sys, embedq
        assert not {"starlette", "jinja2", "embedq.dashboard"} & set(sys.modules)
        app = embedq.EmbedQ("sqlite:///jobs.db").connect()
        app.enqueue(len, "x")
        app.enqueue(lambda: 1)
        import sqlite3
        with sqlite3.connect("jobs.db") as db:
            db.execute("UPDATE embedq_jobs SET name = 'shopjobs:run' WHERE id = 1")
        site = embedq.dashboard.wsgi(app, authorize=lambda request: True)
        from werkzeug.test import Client
        client = Client(site)
        for path in ("/", "/jobs", "/jobs/1", "/jobs/2", "/api/jobs", "/api/jobs/1", "/tasks/of/shopjobs:run"):
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
        assert "shopjobs" not in sys.modules
        import threading
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("embedq")]
    """
    run(script, tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_dashboard_that_was_used_before_a_fork_works_after_it(app: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(app))
    assert visitor.get("/jobs").status_code == 200
    child = os.fork()
    if child == 0:
        status = visitor.get("/jobs").status_code
        os._exit(0 if status == 200 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_queue_may_be_chosen_for_each_request(app: EmbedQ) -> None:
    chosen: Callable[[], Any] = lambda: app  # noqa: E731
    assert Visitor(dashboard.wsgi(chosen)).get("/jobs").status_code == 200
    assert Visitor(dashboard.wsgi(lambda: "nothing"), stranger=True).get("/jobs").status_code == 500  # type: ignore[arg-type, return-value]
