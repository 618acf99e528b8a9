"""Nobody else's page can act in a visitor's name, and no page of ours runs anything that is not ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from embedq import EmbedQ, JobHandle, dashboard
from tests.dashboard.visitors import PREFIX, Visitor


@pytest.fixture
def job(app: EmbedQ) -> Iterator[JobHandle]:
    """A job that must stay as it is."""
    job = app.enqueue_in(60, print, 1)
    yield job
    assert job.state == "scheduled"


def test_a_change_without_the_pages_token_is_refused(visitor: Visitor, job: JobHandle, app: EmbedQ) -> None:
    fields = {"verb": "cancel", "ids": job.id}
    assert visitor.post("/act", fields, token=False).status_code == 403
    assert visitor.post("/act", {**fields, "csrf": "0" * 64}).status_code == 403
    assert visitor.post("/act", {**fields, "csrf": "ö"}).status_code == 403


def test_a_token_is_good_for_its_own_cookie_person_and_key_only(app: EmbedQ, job: JobHandle) -> None:
    who = {"name": "ada"}
    site = dashboard.wsgi(app, authorize=lambda request: dashboard.Access(user=who["name"]))
    ada, fields = Visitor(site), {"verb": "cancel", "ids": job.id}
    token = ada.token()
    other = Visitor(site)
    other.get("/")
    assert other.post("/act", {**fields, "csrf": token}).status_code == 403
    assert Visitor(site).post("/act", {**fields, "csrf": token}, token=False).status_code == 403
    who["name"] = "bob"
    assert ada.post("/act", {**fields, "csrf": token}).status_code == 403
    resigned = Visitor(dashboard.wsgi(app, secret_key="another secret key"))
    assert resigned.post("/act", {**fields, "csrf": token}).status_code == 403


def test_the_token_may_come_from_another_process_of_the_same_application(app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1)
    here = Visitor(dashboard.wsgi(app))
    token = here.token()
    with closing(EmbedQ(app.settings.url).connect()) as other:
        here.move_to(dashboard.wsgi(other))
        assert here.post("/act", {"verb": "cancel", "ids": job.id, "csrf": token}).status_code == 303
    assert job.state == "cancelled"


def test_a_browser_that_states_it_comes_from_elsewhere_is_refused(visitor: Visitor, job: JobHandle) -> None:
    for site in ("cross-site", "same-site"):
        answer = visitor.post("/act", {"verb": "cancel", "ids": job.id}, sec_fetch_site=site)
        assert answer.status_code == 403
        assert visitor.send(f"/api/jobs/{job.id}/cancel", sec_fetch_site=site).status_code == 403
    assert visitor.send(f"/api/jobs/{job.id}/cancel", origin="http://evil.example").status_code == 403
    assert visitor.send(f"/api/jobs/{job.id}/cancel", origin="null").status_code == 403


def test_the_api_takes_no_form(visitor: Visitor, job: JobHandle) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        assert visitor.send(f"/api/jobs/{job.id}/cancel", content_type=kind).status_code == 403


def test_looking_changes_nothing(visitor: Visitor, job: JobHandle) -> None:
    for path in ("/act", f"/api/jobs/{job.id}/cancel", "/recurring/pause"):
        assert visitor.get(f"{path}?verb=cancel&ids={job.id}&confirmed=1").status_code == 405


def test_the_cookie_is_the_dashboards_alone(visitor: Visitor) -> None:
    cookie = visitor.get("/").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"Path={PREFIX}" in cookie
    assert "Set-Cookie" not in visitor.get("/").headers


def test_every_answer_is_fenced_in(app: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(app))
    answers = [
        visitor.get(path) for path in ("/", "/nowhere", "/jobs/99", "/static/dashboard.js", "/api/stats", "/api/x")
    ]
    answers.append(Visitor(dashboard.wsgi(app), stranger=True).get("/"))
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy or "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        kept = answer.status_code == 200 and "javascript" in answer.headers["Content-Type"]
        assert ("no-store" in answer.headers["Cache-Control"]) is not kept


def test_no_page_has_a_script_or_a_style_in_line_and_none_calls_another_host(visitor: Visitor, app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1)
    for path in (
        "/", "/jobs", f"/jobs/{job.id}", "/dead", "/recurring", "/queues", "/limits", "/servers", "/tasks", "/audit",
    ):  # fmt: skip
        html = visitor.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", html), path
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", html), path
        for link in re.findall(r"(?:src|href|action|hx-get)=\"([^\"#]+)\"", html):
            assert link.startswith(f"{PREFIX}/"), (path, link)


def test_after_a_change_one_stays_in_the_dashboard(app: EmbedQ, visitor: Visitor) -> None:
    for evil in (
        "https://evil.example",
        "//evil.example",
        "/elsewhere",
        f"{PREFIX}/\\evil",
        f"{PREFIX}/x\r\nX-Y: z",
        "",
    ):
        job = app.enqueue_in(60, print, 1)
        answer = visitor.post("/act", {"verb": "cancel", "ids": job.id, "next": evil})
        assert answer.headers["Location"] == f"{PREFIX}/jobs"


def test_a_proxys_prefix_is_taken_if_it_is_one(app: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(app, authorize=lambda request: True))
    assert f'href="/admin{PREFIX}/jobs"' in visitor.get("/audit", x_forwarded_prefix="/admin").text
    for evil in ("//evil.example", "https://evil.example", '/"><script>', "/a b", "javascript:1", "/.\\evil"):
        html = visitor.get("/audit", x_forwarded_prefix=evil).text
        assert f'href="{PREFIX}/jobs"' in html
        assert "evil" not in html
