"""Only a browser on this machine, asking directly, until the application says otherwise."""

from __future__ import annotations

from base64 import b64encode

import pytest
from starlette.requests import Request

import embedq
from embedq import ConfigurationError, EmbedQ, dashboard
from embedq.dashboard import Access, Permission
from embedq.dashboard.access import FORWARDING
from tests.dashboard.visitors import Visitor


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "shop.localhost"])
def test_this_machines_own_browser_is_let_in(app: EmbedQ, address: str, host: str) -> None:
    assert Visitor(dashboard.wsgi(app), address=address, host=host).get("/audit").status_code == 200


@pytest.mark.parametrize(
    "address", ["10.0.0.7", "192.168.1.4", "::ffff:10.0.0.7", "0.0.0.0", "", "unix:", "127.0.0.1.evil"]
)
def test_others_are_not(app: EmbedQ, address: str) -> None:
    answer = Visitor(dashboard.wsgi(app), address=address).get("/")
    assert answer.status_code == 403
    assert "authorize=" in answer.text


@pytest.mark.parametrize("header", FORWARDING)
def test_what_came_through_a_proxy_is_never_local(app: EmbedQ, header: str) -> None:
    for value in ("127.0.0.1", ""):
        answer = Visitor(dashboard.wsgi(app)).get("/", **{header: value})
        assert answer.status_code == 403
        assert header in answer.text


@pytest.mark.parametrize(
    "header",
    ["X-ProxyUser-Ip", "X-Scheme", "Client-Ip", "CF-Connecting-IPv6", "Tailscale-User-Login", "X-Varnish",
     "X-ARR-LOG-ID", "Front-End-Https", "X-Appengine-User-Ip", "X-Appengine-Country"],
)  # fmt: skip
def test_nor_what_another_ones_header_tells_of(app: EmbedQ, header: str) -> None:
    assert Visitor(dashboard.wsgi(app)).get("/audit", **{header: "x"}).status_code == 403


def test_a_request_of_http_1_0_is_a_proxys(app: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(app))
    visitor._base["SERVER_PROTOCOL"] = "HTTP/1.0"
    assert visitor.get("/").status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8000"]
)
def test_another_name_that_leads_here_is_refused(app: EmbedQ, host: str) -> None:
    """DNS rebinding: a page of that name would be let in by the browser, and is by its address a local one."""
    assert Visitor(dashboard.wsgi(app), host=host).get("/api/stats").status_code == 403


def test_hosts_may_be_named(app: EmbedQ) -> None:
    site = dashboard.wsgi(app, basic_auth=("ada", "correct horse"), hosts=["jobs.example"])
    asked = {"authorization": basic("ada", "correct horse")}
    assert Visitor(site, address="10.0.0.7", host="jobs.example").get("/audit", **asked).status_code == 200
    assert Visitor(site, address="10.0.0.7", host="evil.example").get("/audit", **asked).status_code == 403


def test_a_name_and_a_password_let_in_from_anywhere(app: EmbedQ) -> None:
    site = dashboard.wsgi(app, basic_auth={"ada": "correct horse", "bob": "pässwörd:with colon"})
    visitor = Visitor(site, address="10.0.0.7", host="jobs.example")
    for name, password in (("ada", "correct horse"), ("bob", "pässwörd:with colon")):
        assert visitor.get("/audit", authorization=basic(name, password)).status_code == 200
    for wrong in (
        basic("ada", "wrong"), basic("bob", "correct horse"), basic("", ""), basic("ada", ""), "Basic !!!", "Basic",
        "Bearer x", b64encode(b"ada").decode(),
    ):  # fmt: skip
        answer = visitor.get("/audit", authorization=wrong)
        assert answer.status_code == 401
        assert "Basic" in answer.headers["WWW-Authenticate"]
    # Not even from this machine: a password was asked for.
    assert Visitor(site).get("/audit").status_code == 401


def test_authorize_decides_on_each_request(app: EmbedQ) -> None:
    def authorize(request: Request) -> bool | Access | None:
        return {"yes": True, "no": False, "ada": Access(user="ada"), "": None}[request.headers.get("x-who", "")]

    visitor = Visitor(dashboard.wsgi(app, authorize=authorize), address="10.0.0.7", host="jobs.example")
    assert visitor.get("/audit", x_who="yes").status_code == 200
    assert "ada" in visitor.get("/audit", x_who="ada").text
    assert visitor.get("/audit", x_who="no").status_code == 403
    assert visitor.get("/audit").status_code == 403
    assert visitor.get("/static/dashboard.css").status_code == 403


def test_an_authorize_that_fails_or_says_neither_lets_nobody_in(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    for authorize in (lambda request: "yes", lambda request: 1, lambda request: {}["user"]):
        answer = Visitor(dashboard.wsgi(app, authorize=authorize)).get("/")  # type: ignore[arg-type]
        assert answer.status_code == 500
        assert "embedq.dashboard" not in answer.text
    assert "authorize must return True, False or an embedq.dashboard.Access" in caplog.text


def test_those_who_may_only_look_are_shown_no_buttons_and_refused_all_changes(app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1)
    for user, site in (
        ("local", dashboard.wsgi(app, read_only=True)),
        ("eve", dashboard.wsgi(app, authorize=lambda request: Access.read_only("eve"))),
        ("", dashboard.wsgi(app, read_only=True, authorize=lambda request: True)),
    ):
        # Their pages have no form; the token is that of one who could do more a moment ago.
        visitor = Visitor(dashboard.wsgi(app, authorize=lambda request, user=user: Access(user=user)))
        token = visitor.token()
        visitor.move_to(site)
        page = visitor.get("/jobs")
        assert 'name="verb"' not in page.text
        for verb in ("retry", "run", "cancel", "delete", "move"):
            answer = visitor.post(
                "/act",
                {"csrf": token, "verb": verb, "ids": job.id, "confirmed": "1", "to_queue": "x"},
                token=False,
            )
            assert answer.status_code == 403
            assert "permission" in answer.text
        for verb in ("run", "pause", "resume", "remove"):
            assert visitor.post(f"/recurring/{verb}", {"csrf": token, "name": "x"}, token=False).status_code == 403
        for path in ("/api/jobs", f"/api/jobs/{job.id}/cancel", "/api/schedules/x/run"):
            assert visitor.send(path).status_code == 403
        assert visitor.get(f"/jobs/{job.id}/stack").status_code == 403
    assert job.state == "scheduled"


def test_each_permission_is_given_by_itself(app: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(app, authorize=lambda request: Access(user="ada", may={"cancel"})))  # type: ignore[arg-type]
    job = app.enqueue_in(60, print, 1)
    assert visitor.post("/act", {"verb": "delete", "ids": job.id, "confirmed": "1"}).status_code == 403
    assert visitor.post("/act", {"verb": "cancel", "ids": job.id}).status_code == 303
    assert job.state == "cancelled"
    assert Access(may=["retry"]).may == {Permission.RETRY}  # type: ignore[arg-type]


def test_options_that_cannot_work_are_refused_at_once(app: EmbedQ) -> None:
    for options, message in (
        ({"authorize": lambda request: True, "basic_auth": ("a", "b")}, "not both"),
        ({"authorize": "yes"}, "function"),
        ({"basic_auth": ("ada", "")}, "empty"),
        ({"basic_auth": {}}, "nobody"),
        ({"hosts": "jobs.example"}, "list"),
        ({"secret_key": "short"}, "16"),
        ({"redact": ["("]}, "pattern"),
        ({"refresh": 0}, "refresh"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            dashboard.wsgi(app, **options)
    with pytest.raises(ConfigurationError, match="permissions are"):
        Access(may={"fly"})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"embedq\.EmbedQ"):
        dashboard.wsgi("sqlite:///x.db")  # type: ignore[arg-type]


def test_the_default_app_is_used_unless_another_is_given(monkeypatch: pytest.MonkeyPatch, app: EmbedQ) -> None:
    monkeypatch.setattr(embedq, "_default", app)
    job = embedq.enqueue_in(60, print, "for the default app")
    assert "for the default app" in Visitor(dashboard.wsgi()).get(f"/jobs/{job.id}").text
