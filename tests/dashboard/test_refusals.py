"""What is refused, or fails: JSON for programs, and for people a page of the dashboard's, or one that stands alone."""

from __future__ import annotations

from typing import Any

import pytest

from embedq import EmbedQ, dashboard
from embedq.dashboard import Access
from tests.dashboard.visitors import Visitor


def broken(request: object) -> bool:
    raise RuntimeError("no session")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, 401),
        ({"basic_auth": ("ada", "x")}, 401),
        ({"authorize": lambda request: False}, 403),
        ({"authorize": broken}, 500),
    ],
)
def test_programs_get_json_and_people_a_page(app: EmbedQ, options: dict[str, Any], status: int) -> None:
    visitor = Visitor(dashboard.wsgi(app, **options), stranger=True)
    for path in ("/api/stats", "/api", "/api/nowhere"):
        answer = visitor.get(path)
        assert (answer.status_code, answer.mimetype) == (status, "application/json")
        assert answer.json["error"]
    page = visitor.get("/jobs")
    assert (page.status_code, page.mimetype) == (status, "text/html")
    assert '<html lang="en">' in page.text
    assert "<title>" in page.text
    assert "width=device-width" in page.text
    assert "style-src 'sha256-" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"


def test_the_requested_address_is_not_written_into_the_page(app: EmbedQ) -> None:
    answer = Visitor(dashboard.wsgi(app, hosts=["jobs.example"]), host="<b>evil").get("/")
    assert answer.status_code == 403
    assert "evil" not in answer.text
    page = Visitor(dashboard.wsgi(app), stranger=True).get('/jobs?queue="><script>x</script>')
    assert page.status_code == 401
    assert "<script>" not in page.text


def test_a_user_without_access_to_the_stack_stays_in_the_dashboard(app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1)
    page = Visitor(dashboard.wsgi(app, read_only=True)).get(f"/jobs/{job.id}/stack")
    assert page.status_code == 403
    assert "Overview" in page.text
    assert "the permission &#39;inspect&#39;" in page.text


def test_too_much_is_refused_in_the_same_way(visitor: Visitor) -> None:
    much = "x" * 3_000_000
    answer = visitor.send("/api/jobs", {"task": much})
    assert (answer.status_code, answer.mimetype) == (413, "application/json")
    page = visitor.post("/act", {"verb": much}, token=False)
    assert (page.status_code, page.mimetype) == (413, "text/html")


def test_a_wrong_method_is_refused_with_the_right_one(visitor: Visitor) -> None:
    answer = visitor.send("/api/stats")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert answer.json["error"] == "this address supports GET only"
    page = visitor.get("/act")
    assert (page.status_code, page.headers["Allow"]) == (405, "POST")
    assert "Overview" in page.text
    assert visitor.get("/api/nowhere").status_code == 404


def test_the_api_sets_no_cookie(app: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(app, authorize=lambda request: Access(user="ada")))
    assert "Set-Cookie" not in visitor.get("/api/stats").headers
    assert "Set-Cookie" not in visitor.get("/api").headers
    assert "Set-Cookie" in visitor.get("/jobs").headers


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/api/jobs?stat=dead", "state, ids, queue"), ("/api/stats?span=day", "this address takes none"),
        ("/api/history?spam=day", "known: span"), ("/api/health?wait=3", "longest_wait"),
        ("/api/audit?after=3", "before"), ("/api/jobs/1?x=", "takes none"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_known_is_refused_with_those_that_are(visitor: Visitor, path: str, known: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 400
    assert known in answer.json["error"]
