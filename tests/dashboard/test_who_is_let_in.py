"""Whom `authorize` and `basic_auth` let in, and what each may do; who comes by a token is the matter of test_token."""

from __future__ import annotations

from base64 import b64encode

import pytest
from starlette.requests import Request

import embedq
from embedq import ConfigurationError, EmbedQ, dashboard
from embedq.dashboard import Access, Permission
from embedq.dashboard.throttling import FREE_FAILURES, FREE_FAILURES_IN_TOTAL
from tests.dashboard.visitors import PREFIX, Visitor, token_of
from tests.support import FakeClock


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


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
        "Bearer x", b64encode(b"ada").decode(), "Basic w7w6",
    ):  # fmt: skip
        answer = visitor.get("/audit", authorization=wrong)
        assert answer.status_code == 401
        assert "Basic" in answer.headers["WWW-Authenticate"]
    # Not even from this machine: a password was asked for.
    assert Visitor(site).get("/audit").status_code == 401


def test_wrong_passwords_are_looked_at_more_and_more_rarely(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    object.__setattr__(app.engine, "clock", clock)
    site = dashboard.wsgi(app, basic_auth=("ada", "correct horse"))
    friend, thief, right = Visitor(site), Visitor(site), basic("ada", "correct horse")
    assert friend.get("/audit", authorization=right).status_code == 200
    assert [thief.get("/", authorization=basic("ada", f"guess {n}")).status_code for n in range(FREE_FAILURES + 1)] == (
        [401] * (FREE_FAILURES + 1)
    )
    assert "10 wrong passwords, the last for the user 'ada'" in caplog.text
    # Nobody who was not here before is listened to now, and the right guess would not show.
    answer = thief.get("/", authorization=right)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert thief.get("/api/stats", authorization=right).json["error"].startswith("too many")
    # A browser that was let in before goes on undisturbed.
    assert friend.get("/jobs", authorization=right).status_code == 200
    clock.advance(seconds=2)
    assert thief.get("/", authorization=basic("ada", "guess")).status_code == 401
    clock.advance(seconds=3)
    assert thief.get("/", authorization=right).status_code == 429
    clock.advance(seconds=1)
    assert thief.get("/", authorization=right).status_code == 200
    looked_at = 0
    stranger = Visitor(site)
    for _ in range(3600):
        looked_at += stranger.get("/api/stats", authorization=basic("ada", "guess")).status_code == 401
        clock.advance(seconds=1)
    assert looked_at <= 65


def test_guesses_from_elsewhere_do_not_lock_out_a_script_without_cookies(app: EmbedQ) -> None:
    object.__setattr__(app.engine, "clock", FakeClock())
    site = dashboard.wsgi(app, basic_auth=("ada", "correct horse"))
    thief, right = Visitor(site, address="198.51.100.7"), basic("ada", "correct horse")
    guesses = [thief.get("/", authorization=basic("ada", f"guess {n}")).status_code for n in range(FREE_FAILURES + 5)]
    assert guesses == [401] * (FREE_FAILURES + 1) + [429] * 4
    for _ in range(3):
        assert Visitor(site, address="10.0.0.7").get("/api/stats", authorization=right).status_code == 200
    assert thief.get("/", authorization=right).status_code == 429


def test_guesses_from_many_addresses_are_limited_in_total_and_known_visitors_are_let_in(app: EmbedQ) -> None:
    clock = FakeClock()
    object.__setattr__(app.engine, "clock", clock)
    site = dashboard.wsgi(app, basic_auth=("ada", "correct horse"))
    right = basic("ada", "correct horse")
    assert Visitor(site, address="10.0.0.7").get("/api/stats", authorization=right).status_code == 200

    def guess(number: int) -> int:
        thief = Visitor(site, address=f"198.51.{number // 250}.{number % 250}")
        return thief.get("/", authorization=basic("ada", f"guess {number}")).status_code

    guesses = [guess(number) for number in range(FREE_FAILURES_IN_TOTAL + 20)]
    assert guesses == [401] * FREE_FAILURES_IN_TOTAL + [429] * 20
    assert Visitor(site, address="10.0.0.7").get("/api/stats", authorization=right).status_code == 200
    answer = Visitor(site, address="10.0.0.8").get("/api/stats", authorization=right)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "61")
    looked_at = 0
    for number in range(3600):
        looked_at += guess(1000 + number) == 401
        clock.advance(seconds=1)
    assert 55 <= looked_at <= 60
    # Calm for a while, and strangers are as free as before.
    clock.advance(seconds=60 * FREE_FAILURES)
    assert [guess(5000 + number) for number in range(FREE_FAILURES)] == [401] * FREE_FAILURES


def test_the_addresses_of_one_ipv6_network_count_as_one(app: EmbedQ) -> None:
    object.__setattr__(app.engine, "clock", FakeClock())
    site = dashboard.wsgi(app, basic_auth=("ada", "correct horse"))

    def guess(address: str) -> int:
        return Visitor(site, address=address).get("/", authorization=basic("ada", "guess")).status_code

    assert [guess(f"2001:db8::{n:x}:1") for n in range(FREE_FAILURES + 5)] == [401] * (FREE_FAILURES + 1) + [429] * 4
    assert guess("2001:db8:0:1::1") == 401
    assert [guess(f"::ffff:192.0.2.{n}") for n in range(FREE_FAILURES + 5)] == [401] * (FREE_FAILURES + 5)


def test_the_cookie_of_a_known_browser_gives_no_way_in_and_no_free_guesses(app: EmbedQ) -> None:
    object.__setattr__(app.engine, "clock", FakeClock())
    site = dashboard.wsgi(app, basic_auth={"ada": "correct horse", "bob": "battery staple"})
    visitor = Visitor(site)
    cookies = visitor.get("/", authorization=basic("ada", "correct horse")).headers.getlist("Set-Cookie")
    [known] = [cookie for cookie in cookies if cookie.startswith("embedq_known")]
    assert "HttpOnly" in known
    assert f"Path={PREFIX}" in known
    assert visitor.get("/").status_code == 401
    for _ in range(FREE_FAILURES + 1):
        assert visitor.get("/", authorization=basic("ada", "guess")).status_code == 401
    assert visitor.get("/", authorization=basic("ada", "correct horse")).status_code == 429


def test_authorize_decides_on_each_request(app: EmbedQ) -> None:
    def authorize(request: Request) -> bool | Access | None:
        answers: dict[str, bool | Access | None] = {"yes": True, "no": False, "ada": Access(user="ada"), "": None}
        return answers[request.headers.get("x-who", "")]

    visitor = Visitor(dashboard.wsgi(app, authorize=authorize), address="10.0.0.7", host="jobs.example")
    assert visitor.get("/audit", x_who="yes").status_code == 200
    assert "ada" in visitor.get("/audit", x_who="ada").text
    assert visitor.get("/audit", x_who="no").status_code == 403
    assert visitor.get("/audit").status_code == 403
    assert visitor.get("/static/dashboard.css").status_code == 403


def test_an_authorize_that_fails_or_returns_something_else_admits_no_one(
    app: EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    for authorize in (lambda request: "yes", lambda request: 1, lambda request: {"a": 1}["user"], lambda request: ()):
        answer = Visitor(dashboard.wsgi(app, authorize=authorize)).get("/")
        assert answer.status_code == 500
        assert "embedq.dashboard" not in answer.text
    assert "authorize must return True, False, an embedq.dashboard.Access or a response, not str" in caplog.text


def test_a_refusal_has_its_reason_in_the_log_and_not_in_the_page(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    for options, reason in (
        ({"authorize": lambda request: None}, "authorize= denied it"),
        ({"authorize": lambda request: True, "hosts": ["jobs.example"]}, "which is not in hosts="),
    ):
        visitor = Visitor(dashboard.wsgi(app, **options))
        for path in ("/", "/api/stats"):
            answer = visitor.get(path)
            assert answer.status_code == 403
            assert not any(word in answer.text for word in ("authorize", "hosts", "basic_auth", "jobs.example"))
        # Once, however often they come.
        assert caplog.text.count(reason) == 1


def test_users_with_read_access_are_shown_no_buttons_and_refused_all_changes(app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1)
    for user, site in (
        ("token", dashboard.wsgi(app, read_only=True)),
        ("eve", dashboard.wsgi(app, authorize=lambda request: Access.read_only("eve"))),
        ("", dashboard.wsgi(app, read_only=True, authorize=lambda request: True)),
    ):
        # Their pages have no form; the token is that of one who could do more a moment ago.
        visitor = Visitor(dashboard.wsgi(app, authorize=lambda request, user=user: Access(user=user)))
        token = visitor.token()
        visitor.move_to(site)
        if site.site.login is not None:
            visitor.get(f"/?token={token_of(site.site)}")
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


def test_to_cancel_the_children_of_what_is_deleted_takes_the_permission_to_cancel(app: EmbedQ) -> None:
    parent = app.enqueue_in(60, print, 1)
    child = parent.then(print, 2)
    app.enqueue_in(60, print, 3)
    visitor = Visitor(dashboard.wsgi(app, authorize=lambda request: Access(user="ada", may={"delete"})))  # type: ignore[arg-type]
    form = {"verb": "delete", "ids": parent.id}
    assert "cancel_children" not in visitor.post("/act", form).text
    assert visitor.post("/act", {**form, "confirmed": "1", "cancel_children": "1"}).status_code == 403
    assert visitor.send(f"/api/jobs/{parent.id}/delete", {"cancel_children": True}).status_code == 403
    everything = {"verb": "delete", "filters": {"state": ["scheduled"]}, "cancel_children": True}
    assert visitor.send("/api/actions", everything).status_code == 403
    assert (parent.state, child.state) == ("scheduled", "awaiting")
    # What was asked for by one who may, and stopped, is not taken up again by one who may not.
    stopped = app.actions.stop(app.actions.delete(actor="bob", cancel_children=True, state="parked", tag="x").id).id
    app.database.write(lambda tx: tx.select(f"UPDATE embedq_actions SET state = 'stopped' WHERE id = {stopped}"))
    assert visitor.post(f"/audit/{stopped}/resume", {}).status_code == 403


def test_who_stops_or_resumes_an_action_and_who_was_denied_one_is_on_the_record(app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1)
    may = {"retry", "cancel"}
    visitor = Visitor(dashboard.wsgi(app, authorize=lambda request: Access(user="ada", may=may)))  # type: ignore[arg-type]
    action = app.actions.wait(app.actions.cancel(actor="bob", state="parked").id)
    assert visitor.post(f"/audit/{action.id}/stop", {}).status_code == 303
    assert visitor.post(f"/audit/{action.id}/resume", {}).status_code == 400
    for _ in range(3):
        assert visitor.post("/act", {"verb": "delete", "ids": job.id, "confirmed": "1"}).status_code == 403
    assert visitor.send("/api/jobs", {"task": "x"}).status_code == 403
    assert visitor.get(f"/jobs/{job.id}/stack").status_code == 403
    log = [
        (one.actor, one.verb, one.subject, one.state.value) for one in app.actions.log().actions if one.actor == "ada"
    ]
    assert log == [
        ("ada", "denied inspect", f"GET /jobs/{job.id}/stack", "failed"),
        ("ada", "denied enqueue", "POST /api/jobs", "failed"),
        # Once a minute is enough.
        ("ada", "denied delete", "POST /act", "failed"),
        ("ada", "resume action", f"action {action.id}: cancel", "failed"),
        ("ada", "stop action", f"action {action.id}: cancel", "done"),
    ]


def test_options_that_cannot_work_are_refused_at_once(app: EmbedQ) -> None:
    for options, message in (
        ({"authorize": lambda request: True, "basic_auth": ("a", "b")}, "not both"),
        ({"authorize": "yes"}, "function"),
        ({"basic_auth": ("ada", "")}, "empty"),
        ({"basic_auth": {}}, "no users"),
        ({"hosts": "jobs.example"}, "list"),
        ({"token": "short"}, "32 characters"),
        ({"token": "x" * 32, "basic_auth": ("a", "b")}, "one of"),
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
