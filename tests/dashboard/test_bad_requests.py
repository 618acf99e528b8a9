"""Whatever a request holds, it is answered with what is wrong with it, and never by an error of the dashboard's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import create_environ

from embedq import EmbedQ, dashboard
from embedq.dashboard import Access
from embedq.dashboard.api import _ROUTES
from embedq.dashboard.routes import PAGES
from tests.dashboard.visitors import Visitor, words
from tests.databases import Home
from tests.support import resume_registry

LONG = "9" * 5_000
DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def asked(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """A dashboard of each database, with a job, a schedule and an action."""
    with (
        resume_registry(),
        closing(EmbedQ(home.fresh(tmp_path_factory.mktemp("asked"), "asked")).connect()) as app,
    ):

        @app.job(name="mail:send")
        def send(*args: Any, **kwargs: Any) -> None: ...

        app.enqueue_in(60, send, 1)
        app.recurring("nightly", "0 3 * * *", send)
        app.actions.retry(actor="ada", ids=[1])
        yield Visitor(dashboard.wsgi(app, authorize=lambda request: Access(user="ada")))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/jobs?size={LONG}", 400), (f"/jobs?ids={LONG}", 400), (f"/jobs?parent={LONG}", 400),
        (f"/jobs/{LONG}", 404), (f"/jobs/{LONG}/logs", 404), (f"/jobs/1/logs?after={LONG}", 400),
        (f"/audit?before={LONG}", 400), (f"/audit/{LONG}", 404), (f"/audit?before={10**19}", 400),
        ("/jobs?cursor=id.next.1.-9223372036854775809", 400), (f"/jobs?cursor=id.next.{LONG}.1", 400),
        ("/jobs?cursor=id.next.9223372036854775808.1", 400), ("/jobs?cursor=", 303), ("/jobs?cursor=...", 400),
        ("/jobs?queue=%00", 400), ("/jobs?error=a%00b", 400), ("/tasks/of/%00", 400), ("/recurring/of/a%00", 400),
        ("/jobs?queue=a&queue=b", 400), ("/jobs?queue=%ff%fe", 200), ("/tasks/of/%ff", 200), ("/%ff%fe/%00", 400),
        ("/jobs?created_from=0001-01-01T00:00%2B14:00", 400), ("/jobs?created_to=9999-12-31T23:59:59-12:00", 400),
        ("/jobs?created_from=9999-12-31T23:59:59", 200), (f"/jobs?created_from={LONG}", 400),
        ("/recurring/calendar?from=0001-01-01", 200), (f"/recurring/calendar?from={LONG}", 400),
        (f"/recurring/calendar?days={LONG}", 400), (f"/search?q={LONG}", 400),
        (f"/api/jobs?size={LONG}", 400), (f"/api/jobs/{LONG}", 404), (f"/api/audit?before={LONG}", 400),
        (f"/api/health?longest_wait={LONG}", 400), ("/api/health?longest_wait=nan", 400),
        ("/api/health?longest_wait=-inf", 400), ("/api/jobs?size=5&size=6", 400), (f"/api/actions/{LONG}", 404),
        ("/api/jobs?cursor=id.next.1.-9223372036854775809", 400), ("/api/jobs?state=dead&state=ready", 200),
        ("/api/jobs/9223372036854775808", 404), ("/jobs/9223372036854775807", 404), ("/api/jobs?%00=1", 400),
    ],
)  # fmt: skip
def test_an_address(asked: Visitor, path: str, status: int) -> None:
    answer = asked.get(path)
    assert answer.status_code == status, words(answer.text)[:500]
    if status == 400:
        assert "failed" not in answer.text
        assert len(answer.text) < 30_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/actions", {"verb": []}), ("/api/actions", {"verb": {}}), ("/api/actions", {"verb": None}),
        ("/api/actions", {"verb": "retry", "filters": []}), ("/api/actions", {"verb": "retry", "filters": {"x": 1}}),
        ("/api/actions", {"verb": "retry", "filters": {"queue": "\ud800"}}),
        ("/api/actions", {"verb": "retry", "filters": {"queue": "a\0b"}}),
        ("/api/actions", {"verb": "retry", "filters": {"queue": ["a", "b"]}}),
        ("/api/actions", {"verb": "retry", "filters": {"state": [["dead"]]}}),
        ("/api/actions", {"verb": "retry", "filters": {"ids": [10**400]}}),
        ("/api/actions", {"verb": "retry", "filters": {"ids": [True, None]}}),
        ("/api/actions", {"verb": "retry", "filters": {"created_from": "9999-12-31T23:59:59-12:00"}}),
        ("/api/actions", {"verb": "move", "filters": {"ids": [1]}, "to_queue": "\ud800"}),
        ("/api/actions", {"verb": "move", "filters": {"ids": [1]}, "to_queue": "a\0b"}),
        ("/api/actions", {"verb": "move", "filters": {"ids": [1]}, "priority": 10**400}),
        ("/api/actions", {"verb": "move", "filters": {"ids": [1]}, "priority": 1.5}),
        ("/api/actions", {"verb": "delete", "filters": {"ids": [1]}, "cancel_children": "yes"}),
        ("/api/jobs/1/move", {"to_queue": ""}), ("/api/jobs/1/cancel", {"x" * 5_000: 10**400}),
        ("/api/jobs", {"task": ["mail:send"]}), ("/api/jobs", {"task": "mail:send", "args": {}}),
        ("/api/jobs", {"task": "mail:send", "delay": 10**400}), ("/api/jobs", {"task": "mail:send", "delay": 1e12}),
        ("/api/jobs", {"task": "mail:send", "delay": float("nan")}),
        ("/api/jobs", {"task": "mail:send", "delay": float("inf")}), ("/api/jobs", {"task": "mail:send", "delay": "5"}),
        ("/api/jobs", {"task": "mail:send", "run_at": "9999-12-31T23:59:59-12:00"}),
        ("/api/jobs", {"task": "mail:send", "run_at": "0001-01-01T00:00:00+14:00"}),
        ("/api/jobs", {"task": "mail:send", "run_at": 5}), ("/api/jobs", {"task": "mail:send", "run_at": "\ud800"}),
        ("/api/jobs", {"task": "mail:send", "run_at": "9999-12-01T00:00:00Z", "options": {"expires_in": 1e9}}),
        ("/api/jobs", {"task": "mail:send", "options": {"timeout": 10**400}}),
        ("/api/jobs", {"task": "mail:send", "options": {"timeout": float("inf")}}),
        ("/api/jobs", {"task": "mail:send", "options": {"timeout": -1}}),
        ("/api/jobs", {"task": "mail:send", "options": {"expires_in": 10**400}}),
        ("/api/jobs", {"task": "mail:send", "options": {"priority": 10**400}}),
        ("/api/jobs", {"task": "mail:send", "options": {"queue": "\ud800"}}),
        ("/api/jobs", {"task": "mail:send", "options": {"queue": "a\0b"}}),
        ("/api/jobs", {"task": "mail:send", "options": {"idempotency_key": "\0"}}),
        ("/api/jobs", {"task": "mail:send", "options": {"tags": 5}}),
        ("/api/jobs", {"task": "mail:send", "options": {"tags": ["\0"]}}),
        ("/api/jobs", {"task": "mail:send", "options": {"retry": {"attempts": 3}}}),
        ("/api/jobs", {"task": "mail:send", "options": {"executor": []}}),
        ("/api/jobs", {"task": "mail:send", "options": {"\ud800": 1}}), ("/api/jobs", {"\ud800": 1}),
    ],
)  # fmt: skip
def test_a_call_of_the_api(asked: Visitor, path: str, body: Any) -> None:
    answer = asked.send(path, body)
    assert answer.status_code == 400, answer.text[:500]
    assert 0 < len(answer.json["error"]) < 2_000


@pytest.mark.parametrize(
    "body", [DEEP, f'{{"verb": {LONG}}}', "{", "[]", "5", "\ud800", b"\xff", '{"args": 1e400}', ""]
)
def test_what_is_no_json(asked: Visitor, body: str | bytes) -> None:
    raw = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    for path in ("/api/jobs", "/api/actions", "/api/jobs/1/move"):
        answer = asked._open("POST", path, {"content_type": "application/json"}, data=raw)
        assert answer.status_code == 400, answer.text[:500]
        assert answer.json["error"]


@pytest.mark.parametrize(
    "fields",
    [
        {"verb": "move", "ids": "1", "confirmed": "1", "priority": LONG}, {"verb": "retry", "ids": LONG},
        {"verb": "move", "ids": "1", "confirmed": "1", "to_queue": "a\0b"}, {"verb": "x\0"}, {"verb": LONG},
        {"verb": "retry", "scope": "all", "created_from": "9999-12-31T23:59:59-12:00"},
        {"verb": "retry", "ids": "1", "next": "\0"},
    ],
)  # fmt: skip
def test_a_form(asked: Visitor, fields: dict[str, str]) -> None:
    assert asked.post("/act", fields).status_code == 400


def test_headers_that_make_no_sense(asked: Visitor) -> None:
    for name in (
        "host",
        "cookie",
        "if-none-match",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "authorization",
        "origin",
    ):
        for value in ("[", "http://[", "x" * 10_000, "\xff", "=;=", "embedq_csrf=%00; embedq_flash=%ff%00"):
            assert asked.get("/jobs", **{name: value}).status_code in (200, 400), (name, value)
            assert asked.send("/api/jobs", {}, **{name: value}).status_code in (400, 403), (name, value)
    for length in ("x", "-5", "9" * 5_000, "", "1e3"):
        answer = asked._client.open(
            "/audit", base_url="http://localhost/ops/embedq", environ_overrides={"CONTENT_LENGTH": length}
        )
        assert answer.status_code in (200, 413)


ROUTES = sorted({(method, path) for method, path, _ in [*PAGES, *_ROUTES]})
NAMES = ["state", "ids", "queue", "tag", "error", "argument", "parent", "created_from", "size", "cursor", "before",
         "after", "span", "days", "from", "sort", "q", "longest_wait", "verb", "scope", "confirmed", "to_queue",
         "priority", "name", "next", "x"]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(["1", "dead", "retry", "move", "-1", "0", "nan", "1e999", LONG, "9223372036854775808", "\0", "",
                     "nightly", "mail:send", "2026-06-01", "9999-12-31T23:59:59.999999-23:59", "id.next.1.1", "all"]),
    st.text(max_size=20),
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-(10**400), 10**400), TEXTS,
              st.sampled_from(["\ud800", "a\0"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
KEYS = [
    "verb",
    "filters",
    "task",
    "args",
    "kwargs",
    "delay",
    "run_at",
    "options",
    "to_queue",
    "priority",
    "cancel_children",
]
BODIES = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5),
    st.builds(
        lambda filters, options: {"verb": "retry", "filters": filters, "task": "mail:send", "options": options},
        st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3),
        st.dictionaries(st.sampled_from(["queue", "timeout", "expires_in", "tags", "priority", "retry"]), VALUES),
    ),
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    route=st.sampled_from(ROUTES),
    place=TEXTS,
    query=st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=4),
    body=BODIES,
    fields=st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=5),
)
def test_no_request_makes_the_dashboard_fail(
    asked: Visitor,
    route: tuple[str, str],
    place: str,
    query: list[tuple[str, str]],
    body: Any,
    fields: list[tuple[str, str]],
) -> None:
    method, pattern = route
    path = pattern.replace("{job_id:int}", "1").replace("{action_id:int}", "1")
    path = path.replace("{name:path}", quote(place or "x", safe="")).replace("{verb}", quote(place or "x", safe=""))
    asked_for = "&".join(f"{name}={quote(value, safe='')}" for name, value in query)
    if method == "GET":
        answer = asked.get(f"{path}?{asked_for}")
    elif path.startswith("/api"):
        raw = json.dumps(body).encode()
        answer = asked._open("POST", path, {"content_type": "application/json"}, data=raw)
    else:
        answer = asked.post(path, dict(fields))
    # 503 is how the health check says that jobs wait; some of these requests enqueue one.
    answered = answer.status_code < 500 or (path == "/api/health" and answer.status_code == 503)
    assert answered, (route, path, query, body, fields, words(answer.text)[:300])


def test_under_wsgi_bytes_that_are_no_text_are_answered(app: EmbedQ) -> None:
    site = dashboard.wsgi(app, authorize=lambda request: True)
    answered: list[str] = []
    for path, query in (("/jobs", "queue=\u20ac"), ("/tasks/of/\u20ac", ""), ("/\xff", "\xff=\xff")):
        environ = {**create_environ(), "PATH_INFO": path, "QUERY_STRING": query, "HTTP_X_\u20ac": "\u20ac"}
        list(site(environ, lambda status, headers: answered.append(status)))
        assert answered.pop().startswith(("200", "404"))
