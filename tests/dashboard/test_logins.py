"""`authorize` may send visitors to the application's own login, by a response or an exception of its framework."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import flask
import pytest
import werkzeug
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.testclient import TestClient
from werkzeug.exceptions import Forbidden
from werkzeug.test import Client

from embedq import EmbedQ, dashboard
from embedq.dashboard import Access
from tests.support import ROOT


class NotLoggedIn(Exception):
    """An exception of an application's own."""


def raising(error: Exception, *, later: bool = False) -> Any:
    def authorize(request: Request) -> bool:
        raise error

    async def authorize_later(request: Request) -> bool:
        raise error

    return authorize_later if later else authorize


def fastapi_client(app: EmbedQ, authorize: Any) -> TestClient:
    site = FastAPI()
    site.mount("/ops", dashboard.asgi(app, authorize=authorize))

    @site.exception_handler(NotLoggedIn)
    async def to_the_login(request: Request, error: NotLoggedIn) -> RedirectResponse:
        return RedirectResponse("/own-login", 302)

    return TestClient(site, follow_redirects=False)


@pytest.mark.parametrize("path", ["/ops/jobs", "/ops/api/stats"])
def test_a_response_is_answered_as_it_is(app: EmbedQ, path: str) -> None:
    login = RedirectResponse("/login?next=/ops", 302)
    login.set_cookie("a", "1")
    login.set_cookie("b", "2")
    page = PlainTextResponse("log in first", 401, {"Content-Security-Policy": "default-src 'self'"})
    for answer in (login, page):
        client = fastapi_client(app, lambda request, answer=answer: answer)
        got = client.get(path)
        assert (got.status_code, got.text) == (answer.status_code, bytes(answer.body).decode())
        assert got.headers.get("location") == answer.headers.get("location")
        assert got.headers.get_list("set-cookie") == answer.headers.getlist("set-cookie")
        # The application's own page has its own rules; but it is not kept.
        assert got.headers.get("content-security-policy") == answer.headers.get("content-security-policy")
        assert got.headers["cache-control"] == "no-store"
        assert client.post(path, json={}).status_code == answer.status_code


@pytest.mark.parametrize("later", [False, True])
def test_exceptions_of_fastapi_are_handled_by_it(app: EmbedQ, later: bool) -> None:
    there = HTTPException(302, headers={"Location": "/login"})
    answer = fastapi_client(app, raising(there, later=later)).get("/ops/jobs")
    assert (answer.status_code, answer.headers["location"]) == (302, "/login")
    answer = fastapi_client(app, raising(HTTPException(418, "a teapot"), later=later)).get("/ops/jobs")
    assert (answer.status_code, answer.json()) == (418, {"detail": "a teapot"})
    # And those that the application has a handler for.
    answer = fastapi_client(app, raising(NotLoggedIn(), later=later)).get("/ops/jobs")
    assert (answer.status_code, answer.headers["location"]) == (302, "/own-login")
    assert fastapi_client(app, raising(RuntimeError("x"), later=later)).get("/ops/jobs").status_code == 500


def test_they_mean_the_same_where_no_framework_is(app: EmbedQ) -> None:
    there = StarletteHTTPException(302, headers={"Location": "/login"})
    for error, path, status, said in (
        (there, "/jobs", 302, ""),
        (StarletteHTTPException(403, "members only"), "/jobs", 403, "members only"),
        (StarletteHTTPException(403, "members only"), "/api/stats", 403, '{"error":"members only"}'),
        (Forbidden("members only"), "/jobs", 403, "members only"),
    ):
        alone = TestClient(dashboard.asgi(app, authorize=raising(error)), follow_redirects=False)
        answer = alone.get(path)
        assert answer.status_code == status
        assert said in answer.text
        wsgi = Client(dashboard.wsgi(app, authorize=raising(error))).get(path)
        assert wsgi.status_code == status
        assert wsgi.headers.get("Location") == answer.headers.get("location")


def test_under_flask_a_response_and_abort_are_the_applications(app: EmbedQ) -> None:
    def asked(authorize: Any) -> Any:
        site = flask.Flask("shop")
        site.register_error_handler(403, lambda error: (f"ours: {error.description}", 403))
        dashboard.flask(site, "/ops", app, authorize=authorize)
        return site.test_client().get("/ops/jobs")

    answer = asked(lambda request: flask.redirect("/login?next=/ops/jobs"))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login?next=/ops/jobs")
    answer = asked(lambda request: flask.make_response("log in", 401, {"X-Own": "1"}))
    assert (answer.status_code, answer.text, answer.headers["X-Own"]) == (401, "log in", "1")
    answer = asked(lambda request: flask.abort(403, "members only"))
    assert (answer.status_code, answer.text) == (403, "ours: members only")
    answer = asked(lambda request: flask.abort(flask.redirect("/login")))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    assert asked(lambda request: werkzeug.Response("teapot", 418)).status_code == 418
    # A page of the application's own that does not exist is the dashboard's to answer.
    site = flask.Flask("shop")
    dashboard.flask(site, "/ops", app, authorize=lambda request: True)
    assert "Overview" in site.test_client().get("/ops/nowhere").text


def test_litestars_exceptions_are_handled_by_it(app: EmbedQ) -> None:
    litestar = pytest.importorskip("litestar")
    from litestar.exceptions import NotAuthorizedException
    from litestar.response import Redirect
    from litestar.testing import TestClient as LitestarClient

    site = dashboard.asgi(app, authorize=raising(NotAuthorizedException("log in first")))
    ops = litestar.asgi("/ops", is_mount=True, copy_scope=True)(site)
    handlers = {NotAuthorizedException: lambda request, error: Redirect("/login")}
    with LitestarClient(litestar.Litestar([ops], exception_handlers=handlers)) as client:
        answer = client.get("/ops/jobs", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (302, "/login")
    with LitestarClient(litestar.Litestar([ops])) as client:
        assert client.get("/ops/jobs").json()["detail"] == "log in first"


DJANGO = """
    import django, sys
    from django.conf import settings
    settings.configure(
        SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", LOGIN_URL="/login/", USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                        "django.contrib.messages", "django.contrib.admin"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {
            "context_processors": ["django.contrib.auth.context_processors.auth",
                                   "django.template.context_processors.request",
                                   "django.contrib.messages.context_processors.messages"]}}],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                    "django.middleware.csrf.CsrfViewMiddleware",
                    "django.contrib.auth.middleware.AuthenticationMiddleware",
                    "django.contrib.messages.middleware.MessageMiddleware"],
    )
    django.setup()
    from django.contrib import admin
    from django.contrib.admin.views.decorators import staff_member_required
    from django.contrib.auth.decorators import login_required
    from django.contrib.auth.models import User
    from django.core.exceptions import PermissionDenied
    from django.core.management import call_command
    from django.http import Http404, HttpResponse, HttpResponseRedirect
    from django.test import Client
    from django.urls import path
    import embedq
    from embedq import dashboard

    call_command("migrate", verbosity=0)
    queue = embedq.EmbedQ("sqlite:///jobs.db").connect()
    job = queue.enqueue_in(60, print, 1)

    def answering(answer):
        def authorize(request):
            if isinstance(answer, Exception):
                raise answer
            return answer
        return dashboard.django(queue, authorize=authorize)

    cookie = HttpResponse("log in", status=401)
    cookie.set_cookie("a", "1")
    urlpatterns = [
        path("admin/jobs/", dashboard.django(queue, wrap=admin.site.admin_view)),
        path("admin/", admin.site.urls),
        path("staff/", dashboard.django(queue, wrap=staff_member_required)),
        path("members/", dashboard.django(queue, wrap=login_required,
            authorize=lambda request: dashboard.Access.read_only(request.scope["django"].user.get_username()))),
        path("there/", answering(HttpResponseRedirect("/login/"))),
        path("cookie/", answering(cookie)),
        path("denied/", answering(PermissionDenied("members only"))),
        path("nowhere/", answering(Http404())),
    ]
    handler403 = lambda request, exception: HttpResponse(f"ours: {exception}", status=403)

    anonymous, ada, eve = Client(), Client(enforce_csrf_checks=True), Client()
    ada.force_login(User.objects.create_superuser("ada", password="x"))
    eve.force_login(User.objects.create_user("eve", password="x"))
"""


def run_django(script: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DJANGO) + textwrap.dedent(script)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_under_django_decorators_of_views_say_who_is_let_in(tmp_path: Path) -> None:
    script = """
        for path, login in (("/admin/jobs/", "/admin/login/"), ("/staff/", "/admin/login/"), ("/members/", "/login/")):
            for there in (path, f"{path}jobs", f"{path}api/stats"):
                answer = anonymous.get(there)
                assert answer.status_code == 302, (there, answer.status_code)
                assert answer["Location"].startswith(f"{login}?next={there}"), answer["Location"]
            assert anonymous.post(f"{path}api/jobs", "{}", content_type="application/json").status_code == 302
            page = ada.get(f"{path}jobs")
            assert page.status_code == 200 and b"ada" in page.content
        assert eve.get("/staff/").status_code == eve.get("/admin/jobs/").status_code == 302
        assert b"read only" in eve.get("/members/jobs").content
        import re
        page = ada.get(f"/admin/jobs/jobs/{job.id}")
        token = re.search(rb'name="csrf" value="(\\w+)"', page.content)[1].decode()
        form = f"verb=cancel&ids={job.id}&csrf={token}"
        sent = ada.generic("POST", "/admin/jobs/act", form, content_type="application/x-www-form-urlencoded")
        assert sent.status_code == 303, sent.content
        assert job.state == "cancelled"
        assert queue.actions.log().actions[0].actor == "ada"
    """
    run_django(script, tmp_path)


def test_djangos_recipe_in_the_docs_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^```text\n(# urls.py\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "recipe.py").write_text(
        "from django.contrib import admin\nfrom django.contrib.auth.decorators import login_required\n"
        "from django.urls import path\nimport embedq\nfrom embedq import dashboard\n"
        f"from embedq.dashboard import Access\nembedq.connect('sqlite:///jobs.db')\n{recipe}"
    )
    script = """
        import runpy
        urlpatterns = runpy.run_path("recipe.py")["urlpatterns"]
        assert ada.get("/admin/jobs/jobs").status_code == 200
        assert anonymous.get("/admin/jobs/jobs")["Location"].startswith("/admin/login/?next=/admin/jobs/jobs")
        assert b"read only" in eve.get("/jobs/audit").content
        assert anonymous.get("/jobs/audit")["Location"] == "/login/?next=/jobs/audit"
    """
    run_django(script, tmp_path)


def test_under_django_a_response_and_its_exceptions_are_the_projects(tmp_path: Path) -> None:
    script = """
        answer = anonymous.get("/there/jobs")
        assert (answer.status_code, answer["Location"]) == (302, "/login/")
        answer = anonymous.get("/cookie/")
        assert (answer.status_code, answer.content, answer.cookies["a"].value) == (401, b"log in", "1")
        answer = anonymous.get("/denied/api/stats")
        assert (answer.status_code, answer.content) == (403, b"ours: members only")
        assert anonymous.get("/nowhere/").status_code == 404
        assert b"Overview" not in anonymous.get("/nowhere/").content
    """
    run_django(script, tmp_path)


def test_a_dependency_of_fastapi_may_be_called(app: EmbedQ) -> None:
    async def current_user(request: Request) -> str:
        user = request.headers.get("x-user")
        if user is None:
            raise HTTPException(303, headers={"Location": "/login"})
        return user

    site = FastAPI()

    @site.get("/me")
    async def me(user: str = Depends(current_user)) -> JSONResponse:
        return JSONResponse(user)

    async def authorize(request: Request) -> Access:
        return Access(user=await current_user(request))

    site.mount("/ops", dashboard.asgi(app, authorize=authorize))
    client = TestClient(site, follow_redirects=False)
    for path in ("/me", "/ops/jobs"):
        assert client.get(path).headers["location"] == "/login"
        assert "ada" in client.get(path, headers={"x-user": "ada"}).text
