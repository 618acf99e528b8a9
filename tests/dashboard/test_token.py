"""Until the application says whom to let in, a dashboard asks for a token, wherever a request seems to come from."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from werkzeug.test import TestResponse

from embedq import ConfigurationError, EmbedQ, dashboard
from embedq.cli import main
from embedq.dashboard.throttling import FREE_FAILURES
from tests.dashboard.visitors import PREFIX, Visitor, words
from tests.databases import Home
from tests.support import FakeClock, cli_runner

SESSION = "embedq_session_"


@pytest.fixture
def stranger(app: EmbedQ) -> Visitor:
    return Visitor(dashboard.wsgi(app), stranger=True)


def cookies(answer: TestResponse) -> list[str]:
    return [cookie for cookie in answer.headers.getlist("Set-Cookie") if cookie.startswith(SESSION)]


def summary(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The tokens in the log."""
    return re.findall(r"\?token=(\S+)", caplog.text)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.7", ""])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "jobs.example"])
@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_no_visitor_is_admitted_without_it(app: EmbedQ, address: str, host: str, protocol: str) -> None:
    @app.job(name="mail:send")
    def send() -> None: ...

    visitor = Visitor(dashboard.wsgi(app), stranger=True, address=address, host=host)
    visitor._base["SERVER_PROTOCOL"] = protocol
    for path in ("/", "/jobs", "/audit", "/static/dashboard.js", "/nowhere", "/api/stats", "/api/nowhere", "/login"):
        answer = visitor.get(path)
        assert answer.status_code in (401, 303), path
        assert "Overview" not in answer.text
    assert visitor.send("/api/jobs", {"task": "mail:send"}).status_code == 401
    assert visitor.post("/act", {"verb": "cancel", "ids": 1}, token=False).status_code == 401
    assert visitor.post("/logout", {}, token=False).status_code == 401
    assert app.count_jobs() == 0


def test_a_link_with_the_token_begins_a_session_and_leads_to_the_link_without_it(
    app: EmbedQ, stranger: Visitor
) -> None:
    answer = stranger.get(f"/jobs?queue=mail&token={dashboard.token(app)}&size=25")
    assert answer.headers["Location"] == f"{PREFIX}/jobs?queue=mail&size=25"
    [cookie] = cookies(answer)
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"Path={PREFIX};" in cookie
    assert "Secure" not in cookie
    page = stranger.follow(answer)
    assert page.status_code == 200
    assert "token" in words(page.text)
    assert stranger.get("/api/stats").status_code == 200
    # An old link does no harm.
    assert stranger.get("/jobs?token=old").headers["Location"] == f"{PREFIX}/jobs"


def test_under_https_the_cookie_is_for_https_only(app: EmbedQ, stranger: Visitor) -> None:
    [cookie] = cookies(stranger.get(f"/?token={dashboard.token(app)}", x_forwarded_proto="https"))
    assert "Secure" in cookie


def test_a_token_that_is_typed_in_leads_on_to_the_requested_page(app: EmbedQ, stranger: Visitor) -> None:
    page = stranger.get("/jobs?queue=a%26b")
    assert page.status_code == 401
    assert "Token required" in page.text
    assert f'action="{PREFIX}/login"' in page.text
    assert 'value="/ops/embedq/jobs?queue=a%26b"' in page.text
    wrong = stranger.post("/login", {"token": "wrong", "next": f"{PREFIX}/audit"}, token=False)
    assert (wrong.status_code, cookies(wrong)) == (401, [])
    assert "This token is wrong or has expired" in wrong.text
    assert f'value="{PREFIX}/audit"' in wrong.text
    fields = {"token": f" {dashboard.token(app)}\n", "next": f"{PREFIX}/jobs?queue=a%26b"}
    right = stranger.post("/login", fields, token=False)
    assert right.headers["Location"] == f"{PREFIX}/jobs?queue=a%26b"
    assert stranger.follow(right).status_code == 200


@pytest.mark.parametrize("there", ["https://evil.example", "//evil.example", f"{PREFIX}/\\evil", "/elsewhere", ""])
def test_it_never_leads_out_of_the_dashboard(app: EmbedQ, stranger: Visitor, there: str) -> None:
    right = stranger.post("/login", {"token": dashboard.token(app), "next": there}, token=False)
    assert right.headers["Location"] == f"{PREFIX}/"


def test_a_link_with_two_slashes_leads_to_no_other_host(app: EmbedQ) -> None:
    client = TestClient(dashboard.asgi(app), follow_redirects=False)
    answer = client.get(f"http://testserver//evil.example/?token={dashboard.token(app)}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/evil.example")


def test_programs_send_it_along(app: EmbedQ, stranger: Visitor) -> None:
    known = {"authorization": f"Bearer {dashboard.token(app)}"}
    answer = stranger.get("/api/stats", **known)
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (200, [])
    assert stranger.get("/jobs", **known).status_code == 200
    for wrong in ("Bearer", "Bearer x", "Basic eDp5", f"Token {dashboard.token(app)}", "Bearer \xff"):
        answer = stranger.get("/api/stats", authorization=wrong)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json["error"]
    # It is not for the addresses of programs, which stand in logs.
    assert stranger.get(f"/api/stats?token={dashboard.token(app)}").status_code == 401


def test_one_logs_out(app: EmbedQ, stranger: Visitor) -> None:
    stranger.get(f"/?token={dashboard.token(app)}")
    assert "Log out" in stranger.get("/jobs").text
    answer = stranger.post("/logout", {})
    assert answer.headers["Location"] == f"{PREFIX}/"
    assert stranger.get("/").status_code == 401
    # Who sends it along has nothing to log out of.
    assert "Log out" not in Visitor(dashboard.wsgi(app)).get("/jobs").text


def test_a_session_ends_after_thirty_days_and_none_can_be_made_up(app: EmbedQ, stranger: Visitor) -> None:
    clock = FakeClock()
    object.__setattr__(app.engine, "clock", clock)
    [cookie] = cookies(stranger.get(f"/?token={dashboard.token(app)}"))
    clock.advance(days=29)
    assert stranger.get("/jobs").status_code == 200
    clock.advance(days=2)
    assert stranger.get("/jobs").status_code == 401
    name, value = cookie.partition(";")[0].split("=", 1)
    until, nonce, signature = value.split(".")
    later = str(int(until) + 10**8)
    for made_up in (
        f"{later}.{nonce}.{signature}", f"{later}..{signature}", f"{later}{nonce}.{signature}", "", "..", "ü",
        f"{'9' * 5000}.{nonce}.{signature}", dashboard.token(app),
    ):  # fmt: skip
        assert Visitor(dashboard.wsgi(app), stranger=True, cookie=f"{name}={made_up}").get("/jobs").status_code == 401


def test_every_process_of_an_application_agrees(app: EmbedQ, stranger: Visitor) -> None:
    stranger.get(f"/?token={dashboard.token(app)}")
    with closing(EmbedQ(app.settings.url).connect()) as other:
        assert dashboard.token(other) == dashboard.token(app)
        stranger.move_to(dashboard.wsgi(other))
        assert stranger.get("/jobs").status_code == 200
    elsewhere = EmbedQ(app.settings.url, secret_key="another secret key").connect()
    stranger.move_to(dashboard.wsgi(elsewhere))
    assert stranger.get("/jobs").status_code == 401
    elsewhere.close()


def test_the_token_of_a_dashboard_that_is_only_looked_at_is_good_for_no_other(app: EmbedQ) -> None:
    look, act = dashboard.wsgi(app, read_only=True), dashboard.wsgi(app)
    visitor = Visitor(look, stranger=True)
    only_look = dashboard.token(app, read_only=True)
    assert visitor.get(f"/?token={only_look}").status_code == 303
    assert visitor.get("/jobs").status_code == 200
    visitor.move_to(act)
    assert visitor.get("/jobs").status_code == 401
    assert visitor.get(f"/?token={only_look}").status_code == 401
    assert visitor.get(f"/?token={dashboard.token(app)}").status_code == 303
    visitor.move_to(look)
    assert visitor.get("/jobs").status_code == 200
    assert "read only" in visitor.get("/jobs").text


def test_the_log_shows_one_that_is_good_for_an_hour_and_shows_it_once(
    app: EmbedQ, stranger: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    object.__setattr__(app.engine, "clock", clock)
    for _ in range(3):
        stranger.get("/jobs", host="evil.example")
        stranger.get("/api/stats")
    [passing] = summary(caplog)
    assert "evil" not in caplog.text
    assert dashboard.token(app) not in caplog.text
    other = Visitor(dashboard.wsgi(app), stranger=True)
    clock.advance(minutes=59)
    assert other.get(f"/?token={passing}").status_code == 303
    clock.advance(minutes=2)
    assert Visitor(dashboard.wsgi(app), stranger=True).get(f"/?token={passing}").status_code == 401
    # The session that it began goes on, and the next visitor is told a new one.
    assert other.get("/jobs").status_code == 200
    stranger.get("/jobs")
    assert len(set(summary(caplog))) >= 2
    until, _, signature = passing.partition("-")
    assert stranger.get(f"/?token={int(until) + 10**6}-{signature}").status_code == 401


def test_a_token_of_the_applications_own_is_taken_and_not_shown(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    own = "correct horse battery staple, and some more"
    visitor = Visitor(dashboard.wsgi(app, token=own), stranger=True)
    assert visitor.get("/").status_code == 401
    assert visitor.post("/login", {"token": dashboard.token(app)}, token=False).status_code == 401
    assert visitor.post("/login", {"token": own}, token=False).status_code == 303
    assert visitor.get("/jobs").status_code == 200
    assert own not in caplog.text
    assert not summary(caplog)


def test_wrong_tokens_are_looked_at_more_and_more_rarely_and_the_right_one_always(
    app: EmbedQ, stranger: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    object.__setattr__(app.engine, "clock", FakeClock())
    tries: list[Any] = [stranger.post("/login", {"token": f"guess {n}"}, token=False) for n in range(FREE_FAILURES + 5)]
    assert [answer.status_code for answer in tries] == [401] * (FREE_FAILURES + 1) + [429] * 4
    assert int(tries[-1].headers["Retry-After"]) >= 2
    assert stranger.get("/?token=guess").status_code == 429
    assert stranger.get("/api/stats", authorization="Bearer guess").status_code == 429
    assert "10 wrong tokens" in caplog.text
    # It cannot be guessed, so strangers cannot lock its holders out.
    assert stranger.get("/api/stats", authorization=f"Bearer {dashboard.token(app)}").status_code == 200


def test_a_server_database_has_one_by_its_password_or_the_secret_key_and_otherwise_refuses(
    home: Home, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(EmbedQ(url, secret_key="0123456789abcdef").connect()) as app:
        assert len(dashboard.token(app)) == 64
    if url.startswith("mysql"):
        with closing(EmbedQ(url).connect()) as app:
            assert len(dashboard.token(app)) == 64
    if not url.startswith("postgresql"):
        return
    with closing(EmbedQ(url).connect()) as app:
        with pytest.raises(ConfigurationError, match="EMBEDQ_SECRET_KEY"):
            dashboard.token(app)
        answer = Visitor(dashboard.wsgi(app), stranger=True).get("/")
        assert answer.status_code == 403
        assert "login is not configured" in answer.text
        assert "SECRET" not in answer.text
        assert "EMBEDQ_SECRET_KEY" in caplog.text
    # PostgreSQL trusts this machine here, whatever the password is.
    tokens = []
    for password in ("hush", "h%75sh", "other"):
        with closing(EmbedQ(url.replace("postgres@", f"postgres:{password}@", 1)).connect()) as app:
            tokens.append(dashboard.token(app))
    assert tokens[0] == tokens[1] != tokens[2]


def test_the_command_line_shows_it(app: EmbedQ) -> None:
    def run(*options: str) -> Any:
        done = cli_runner().invoke(main, ["--url", app.settings.url, "dashboard", "--token", *options])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert run() == dashboard.token(app) + "\n"
    assert run("--read-only") == dashboard.token(app, read_only=True) + "\n"
    assert run("--json").split() == ["{", '"token":', f'"{dashboard.token(app)}"', "}"]


def test_with_no_logging_set_up_the_token_is_on_the_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import embedq\nfrom starlette.testclient import TestClient\n"
         "app = embedq.EmbedQ('sqlite:///jobs.db').connect()\n"
         "TestClient(embedq.dashboard.asgi(app)).get('/')"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "?token=" in done.stderr
    assert logging.getLogger("embedq.dashboard").level == logging.NOTSET
