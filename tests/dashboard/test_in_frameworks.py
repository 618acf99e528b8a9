"""What an application around the dashboard does to its requests: hooks, transactions, variables in the path."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask, request
from litestar import Litestar, Router, asgi
from litestar.testing import TestClient
from werkzeug.test import Client

from embedq import EmbedQ, dashboard
from embedq.dashboard import Access
from tests.dashboard.test_mounting import links, run
from tests.dashboard.visitors import Visitor


def in_flask(app: EmbedQ, path: str = "/ops", hook: Callable[[], object] | None = None) -> Any:
    site = Flask("shop")
    dashboard.flask(site, path, app, authorize=lambda request: Access(user="ada"))
    if hook is not None:

        @site.before_request
        def look() -> None:
            hook()

    return site.test_client()


HOOKS: dict[str, Callable[[], object]] = {
    "the form": lambda: request.form.get("verb"),
    "all values": lambda: request.values.get("verb"),
    "the data": lambda: request.get_data(),
    "the data without a copy": lambda: request.get_data(cache=True, parse_form_data=True),
    "the json": lambda: request.get_json(silent=True),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_form_arrives_that_a_hook_of_flask_has_looked_into(app: EmbedQ, hook: str) -> None:
    client = in_flask(app, hook=HOOKS[hook])
    job = app.enqueue_in(60, print, "ö & =")
    token = client.get("/ops/jobs").text.partition('name="csrf" value="')[2].partition('"')[0]
    sent = client.post("/ops/act", data={"verb": "cancel", "ids": [str(job.id), "7"], "confirmed": "1", "csrf": token})
    assert (sent.status_code, job.state) == (303, "cancelled"), sent.text


@pytest.mark.parametrize("hook", HOOKS)
def test_json_arrives_that_a_hook_of_flask_has_looked_into(app: EmbedQ, hook: str) -> None:
    client = in_flask(app, hook=HOOKS[hook])
    job = app.enqueue_in(60, print)
    moved = client.post(f"/ops/api/jobs/{job.id}/move", json={"to_queue": "löw"})
    assert moved.status_code == 200, moved.text
    assert job.snapshot().queue == "löw"


def test_a_path_of_flask_may_hold_variables_and_more_slashes_than_it_needs(app: EmbedQ) -> None:
    client = in_flask(app, "/of/<tenant>/ops")
    for base in ("/of/acme/ops", "/of/%C3%B6 %C3%A4/ops"):
        page = client.get(f"{base}/jobs")
        assert page.status_code == 200
        assert all(link.startswith(f"{base.replace(' ', '%20')}/") for link in links(page.text)), links(page.text)
        assert client.get(base).status_code == 200
    assert client.get("/", environ_overrides={"PATH_INFO": "//of/acme/ops/jobs"}).status_code == 200


@pytest.mark.parametrize("within", ["flask", "wsgi"])
def test_a_body_in_chunks_is_read_where_the_server_can(app: EmbedQ, within: str) -> None:
    site = Flask("shop")
    plain = dashboard.wsgi(app, authorize=lambda request: True)
    if within == "flask":
        dashboard.flask(site, "/ops", app, authorize=lambda request: True)
    client, base = (Client(site), "/ops") if within == "flask" else (Client(plain), "")
    job = app.enqueue_in(60, print)

    def send(body: bytes) -> int:
        environ = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
        return client.post(
            f"{base}/api/jobs/{job.id}/move", content_type="application/json", environ_overrides=environ
        ).status_code

    assert (send(b'{"to_queue": "low"}'), job.snapshot().queue) == (200, "low")
    assert send(b'{"to_queue": "' + b"x" * 2_100_000 + b'"}') == 413


def test_a_recurring_job_or_function_of_any_name_has_a_page_that_links_lead_to(app: EmbedQ) -> None:
    names = [".", "..", "a/b", "/first", "last/", "a//b", "a%2Fb", "?x=1", "#top", "new\nline", "\\back", "ö ä"]
    for name in names:
        app.job(name=name)(lambda: None).enqueue_in(60)
        app.recurring(name, "@daily", print)
    visitor = Visitor(dashboard.wsgi(app))
    for page in ("recurring", "tasks"):
        source = ["/recurring"] if page == "recurring" else [f"/jobs/{number + 1}" for number in range(len(names))]
        found = {link for path in source for link in links(visitor.get(path).text) if f"/{page}/of" in link}
        assert len(found) == len(names)
        for link in found:
            # What browsers and proxies make of a path can_log_out it as it is.
            path = link.partition("?")[0]
            assert "%2F" not in path
            assert path.rpartition("/")[2].strip(".")
        shown = "".join(visitor.get(link).text for link in found)
        assert shown.count("<h1") == len(names)


def test_a_schedule_that_was_paused_is_shown_again_whatever_its_name(app: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(app))
    for name in ("?x=1", "#top", "a/b", "100 %"):
        app.recurring(name, "@daily", print)
        [link] = [link for link in links(visitor.get(f"/recurring?name={quote(name)}").text) if "/of" in link]
        page = visitor.get(link)
        back = page.text.partition('name="next" value="')[2].partition('"')[0].replace("&amp;", "&")
        paused = visitor.post("/recurring/pause", {"name": name, "next": back})
        assert (paused.status_code, app.schedule(name).paused) == (303, True)
        assert visitor.get(paused.headers["Location"]).status_code == 200


def test_under_django_no_transaction_is_in_the_way_and_the_path_may_hold_variables(
    tmp_path: Path,
) -> None:
    script = """
        import django
        from django.conf import settings
        entry = {"ENGINE": "django.db.backends.sqlite3", "ATOMIC_REQUESTS": True}
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", DATABASES={
            "default": {**entry, "NAME": "other.db"},
            "jobs": {**entry, "NAME": "jobs.db", "OPTIONS": {"transaction_mode": "IMMEDIATE"}},
        })
        django.setup()
        from django.contrib.auth.decorators import login_not_required
        from django.test import Client
        from django.urls import path
        import embedq
        queue = embedq.EmbedQ("sqlite:///jobs.db", busy_timeout=1).connect()

        def authorize(request):
            return embedq.dashboard.Access(user=request.scope["django"].resolver_match.kwargs.get("tenant", "ada"))

        def site(**options):
            return embedq.dashboard.django(queue, authorize=authorize, **options)

        wrapped = site(wrap=login_not_required)
        urlpatterns = [path("ops/", site()), path("wrapped/", wrapped), path("of/<tenant>/", site())]
        for base in ("/ops", "/wrapped", "/of/acme"):
            job = queue.enqueue_in(60, print)
            page = Client().get(f"{base}/jobs/{job.id}")
            assert page.status_code == 200, (base, page.status_code)
            assert f'href="{base}/dead"'.encode() in page.content
            assert (b"acme" in page.content) is (base == "/of/acme")
            answer = Client().post(f"{base}/api/jobs/{job.id}/cancel", {}, content_type="application/json")
            assert answer.status_code == 200, (base, answer.status_code, answer.content)
            assert job.state == "cancelled"
    """
    run(script, tmp_path)


def test_under_django_a_body_in_chunks_is_read(tmp_path: Path) -> None:
    script = """
        import io
        import django
        from django.conf import settings
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__")
        django.setup()
        from django.core.handlers.wsgi import WSGIHandler
        from django.urls import path
        from werkzeug.test import Client
        import embedq
        queue = embedq.EmbedQ("sqlite:///jobs.db").connect()
        job = queue.enqueue_in(60, print)
        urlpatterns = [path("ops/", embedq.dashboard.django(queue, authorize=lambda request: True))]

        def send(body):
            environ = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
            environ["HTTP_TRANSFER_ENCODING"] = "chunked"
            address = f"/ops/api/jobs/{job.id}/move"
            return Client(WSGIHandler()).post(address, content_type="application/json", environ_overrides=environ)

        answer = send(b'{"to_queue": "low"}')
        assert (answer.status_code, job.snapshot().queue) == (200, "low"), answer.text
        assert send(b'{"to_queue": "' + b"x" * 2_100_000 + b'"}').status_code == 413
    """
    run(script, tmp_path)


@pytest.mark.parametrize("base", ["/jobs", "/of/jobs"])
def test_under_litestar_links_lead_to_the_dashboard(app: EmbedQ, base: str) -> None:
    site = asgi("/jobs", is_mount=True, copy_scope=True)(dashboard.asgi(app, authorize=lambda request: True))
    app.recurring("ö", "@daily", print)
    with TestClient(Litestar([site] if base == "/jobs" else [Router("/of", route_handlers=[site])])) as client:
        for path in ("", "/", "/dead", "/recurring", "/recurring/of/%C3%B6"):
            page = client.get(base + path)
            assert page.status_code == 200, path
            found = links(page.text)
            assert all(link.startswith(f"{base}/") for link in found), found
        # What forms send to takes no GET.
        assert {client.get(link.replace("&amp;", "&")).status_code for link in found} == {200, 405}
