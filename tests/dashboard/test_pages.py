"""What each page shows, of a queue with a bit of everything in it."""

from __future__ import annotations

import json
import re
from html import unescape
from urllib.parse import quote, urlencode

import pytest

import embedq
from embedq import EmbedQ, JobState, dashboard
from embedq.display.redaction import HIDDEN
from tests.dashboard.showcase import HOSTILE, SECRET, Showcase
from tests.dashboard.visitors import PREFIX, Visitor, words
from tests.databases import SQLiteHome


@pytest.fixture(scope="module")
def visitor(show: Showcase) -> Visitor:
    return Visitor(dashboard.wsgi(show.app))


def one(show: Showcase, **filters: object) -> int:
    """The newest job of that kind."""
    [job] = show.app.jobs(limit=1, **filters)  # type: ignore[arg-type]
    return job.id


PAGES = [
    "/", "/?span=week", "/jobs", "/jobs?state=dead&size=25", "/dead", "/recurring", "/recurring/calendar",
    "/recurring/calendar?days=31&from=2027-03-10", "/recurring/of/nightly%20report",
    "/recurring/of/hourly%20%3Cb%3Eindex%3C%2Fb%3E", "/queues", "/limits", "/servers",
    "/tasks", "/tasks?span=day&sort=failures", "/tasks/of/shop.mail:send", "/audit",
]  # fmt: skip


def every_page(show: Showcase) -> list[str]:
    jobs = [
        one(show, state=JobState.DEAD), one(show, state=JobState.RUNNING), one(show, state=JobState.RETRYING),
        one(show, state=JobState.AWAITING), one(show, state=JobState.CANCELLED), one(show, queue="<b>bold</b>"),
        one(show, name="shop.mail:send", state=JobState.SUCCEEDED),
    ]  # fmt: skip
    return [*PAGES, *(f"/jobs/{job}" for job in jobs), f"/jobs/{jobs[1]}/logs", f"/jobs/{jobs[1]}/stack"]


def test_every_page_opens_and_its_links_lead_somewhere(show: Showcase, visitor: Visitor) -> None:
    links = set()
    for path in every_page(show):
        answer = visitor.get(path)
        assert answer.status_code == 200, (path, words(answer.text)[:300])
        links |= {unescape(link) for link in re.findall(r'(?:href|hx-get)="([^"#]+)"', answer.text)}
    for link in sorted(links):
        assert visitor.get(link).status_code == 200, link


def test_nothing_hostile_gets_out_of_its_place(show: Showcase, visitor: Visitor) -> None:
    for path in every_page(show):
        # The value of a hidden field is what it is, to the letter.
        html = re.sub(r'value="[^"]*"', "", visitor.get(path).text)
        assert "<script>" not in html, path
        assert "<img" not in html, path
        assert "<b>bold" not in html, path
        assert "\u202e" not in html, path
        assert "49 }}" not in html, path
    assert unescape(HOSTILE.replace("\u202e", "\\u202e")) in unescape(visitor.get("/dead").text)


def test_secrets_are_shown_nowhere(show: Showcase, visitor: Visitor) -> None:
    job = next(job.id for job in show.app.jobs(name="shop.mail:send", limit=100) if SECRET in job.arguments)
    for path in [*every_page(show), "/api/jobs?size=200", f"/api/jobs/{job}", "/jobs?size=200"]:
        text = visitor.get(path).text
        assert SECRET not in text, path
        assert "4111 1111" not in text, path
    for guess in (SECRET, SECRET[:4], "4111"):
        assert visitor.get(f"/jobs?argument={quote(guess)}").text.count("data-row") == 0, guess
        assert visitor.get(f"/api/jobs?argument={quote(guess)}").json["jobs"] == [], guess
    assert 'password "••••••"' in words(visitor.get(f"/jobs/{job}").text)


def test_the_overview_states_what_is_broken_before_all_else(visitor: Visitor) -> None:
    text = words(visitor.get("/").text)
    assert "None. No late queues" not in text
    assert "ConnectionError: could not reach https://bank.example/charge" in text
    assert text.index("Problems") < text.index("Dead letters 15") < text.index("Failed attempts") < text.index("Runs")


def test_the_overview_of_a_queue_that_is_well(app: EmbedQ) -> None:
    text = words(Visitor(dashboard.wsgi(app)).get("/").text)
    assert "Nothing here yet" in text
    app.start()
    app.enqueue(print, "").wait(timeout=10)
    assert "None. No late queues" in words(Visitor(dashboard.wsgi(app)).get("/").text)


def test_ready_jobs_without_a_process_that_runs_them_are_a_problem(app: EmbedQ) -> None:
    app.enqueue(print, 1)
    visitor = Visitor(dashboard.wsgi(app))
    assert "No process runs jobs" in words(visitor.get("/").text)
    answer = visitor.get("/api/health")
    assert (answer.status_code, answer.json["status"]) == (503, "failing")
    assert answer.json["reasons"] == ["jobs are ready, and no process runs jobs"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=dead", 15), ("state=dead&state=retrying&size=200", 21), ("queue=images", 6), ("tag=vip", 2),
        ("name=shop.payments:charge", 14), ("error=No+space+left", 6), ("argument=photo-3", 1),
        ("argument=nothing+has+it", 0),
        ("error_group=ConnectionError:+could+not+reach+https://bank.example/charge/%23:+timed+out+after+%23+s", 14),
        ("schedule=charge+again", 1), ("created_from=2001-01-01T00:00&size=25", 25), ("created_to=2001-01-01T00:00", 0),
        ("finished_from=2001-01-01T00:00&state=dead", 15), ("queue=images&state=dead", 0), ("ids=1&ids=2", 2),
    ],
)  # fmt: skip
def test_jobs_are_found_by_what_is_known_of_them(visitor: Visitor, query: str, found: int) -> None:
    html = visitor.get(f"/jobs?{query}").text
    assert html.count("data-row") == found
    assert ("No matching jobs" in html) is (found == 0)


def test_the_empty_fields_of_a_form_are_not_in_the_address(visitor: Visitor) -> None:
    answer = visitor.get("/jobs?state=dead&name=&queue=&error=timed+out&created_from=&size=25")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{PREFIX}/jobs?state=dead&error=timed+out&size=25"


def test_pages_of_jobs_go_on_and_back(visitor: Visitor) -> None:
    def ids(html: str) -> list[int]:
        return [int(id_) for id_ in re.findall(r'id="job-(\d+)"', html)]

    def link(html: str, rel: str) -> str:
        found = re.search(rf'rel="{rel}" href="([^"]+)"', html)
        assert found, rel
        return unescape(found[1])

    first = visitor.get("/jobs?size=30").text
    second = visitor.get(link(first, "next")).text
    assert len(ids(first)) == len(ids(second)) == 30
    assert min(ids(first)) > max(ids(second))
    assert ids(visitor.get(link(second, "prev")).text) == ids(first)
    assert 'rel="prev"' not in first


@pytest.mark.parametrize(
    ("typed", "leads_to"),
    [
        ("42", "/jobs/42"), ("#42", "/jobs/42"), ("queue:mail", "/jobs?queue=mail"), ("id:7", "/jobs/7"),
        ('error:"timed out" tag:vip', "/jobs?error=timed+out&tag=vip"), ("photo 3", "/jobs?argument=photo+3"),
        ("function:shop.mail:send state:dead", "/jobs?name=shop.mail%3Asend&state=dead"), ("", "/jobs"),
        ('it\'s "open', "/jobs?argument=it%27s+%22open"), ("http://x", "/jobs?argument=http%3A%2F%2Fx"),
    ],
)  # fmt: skip
def test_the_search_box_understands_what_is_typed(visitor: Visitor, typed: str, leads_to: str) -> None:
    answer = visitor.get(f"/search?{urlencode({'q': typed})}")
    assert answer.headers["Location"] == PREFIX + leads_to


@pytest.mark.parametrize(
    "path",
    ["/jobs?state=lost", "/jobs?ids=x", "/jobs?created_from=yesterday", "/jobs?cursor=nonsense", "/jobs?size=0",
     "/jobs?size=9999", "/?span=year", "/recurring/calendar?days=9", "/jobs?ids=99999999999999999999", "/search?q=id:x",
     "/jobs?parent=%C2%B2", "/recurring/calendar?from=spring", "/recurring/calendar?from=9999-12-31"],
)  # fmt: skip
def test_an_invalid_request_gets_an_explanation(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    if answer.status_code == 303:
        answer = visitor.follow(answer)
    assert answer.status_code == 400
    assert "Bad request" in answer.text


@pytest.mark.parametrize(
    "path",
    ["/jobs/999999", "/jobs/99999999999999999999999", "/nowhere", "/jobs/x", "/recurring/of/none", "/audit/999",
     "/x/none",
     "/static/../site.py", "/static/none.css", "/jobs/999999/logs"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(visitor: Visitor, path: str) -> None:
    assert visitor.get(path).status_code == 404


def test_the_page_of_a_job_has_all_of_it(show: Showcase, visitor: Visitor) -> None:
    dead = words(visitor.get(f"/jobs/{one(show, name='shop.payments:charge', queue='payments')}").text)
    for expected in ("ConnectionError: could not reach", "Traceback (most recent call last)", "payments , priority 5",
                     "order", "amount", "Attempts", "Timeline", "created", "started", "failed"):  # fmt: skip
        assert expected in dead, expected
    running = words(visitor.get(f"/jobs/{one(show, state=JobState.RUNNING)}").text)
    assert "of 100" in running
    assert "page 3 took 21 ms" in running
    head = next(job.id for job in show.app.jobs(name="shop.search:index", limit=100) if job.arguments == "[[1,10],{}]")
    chain = words(visitor.get(f"/jobs/{head}").text)
    assert "Chain" in chain
    assert "on success" in chain
    # What waited for a failure that did not come is not kept.
    assert "on failure" not in chain


def put_in_meta() -> None:
    job = embedq.current_job()
    job.meta.update({"<stage>": "upload", "api_key": "hush", "login": {"user": "ada", "password": "hush"}})


def test_the_page_of_a_job_has_its_meta_without_the_secrets_in_it(app: EmbedQ) -> None:
    app.start()
    job, other = app.enqueue(put_in_meta), app.enqueue(print)
    job.result(30)
    visitor = Visitor(dashboard.wsgi(app))
    page = visitor.get(f"/jobs/{job.id}").text
    assert f'Meta <stage> "upload" api_key "{HIDDEN}" login {{"user": "ada", "password": "{HIDDEN}"}}' in words(page)
    assert "hush" not in page
    assert visitor.get(f"/api/jobs/{job.id}").json["meta"] == {
        "<stage>": "upload", "api_key": HIDDEN, "login": {"user": "ada", "password": HIDDEN},
    }  # fmt: skip
    assert 'id="meta"' not in visitor.get(f"/jobs/{other.id}").text
    assert visitor.get(f"/api/jobs/{other.id}").json["meta"] == {}


def test_recurring_jobs_show_when_they_run_there_and_in_utc(visitor: Visitor) -> None:
    text = words(visitor.get("/recurring/of/nightly%20report").text)
    assert "0 4 * * * Europe/Berlin at 04:00 every day" in text
    assert re.search(r"04:00 CES?T 0[23]:00", text)
    assert "charge again" in words(visitor.get("/recurring").text)
    ledger = words(visitor.get("/recurring/of/charge%20again").text)
    assert "triggered" in ledger


def test_an_open_page_is_sent_again_only_when_something_is_new(show: Showcase, visitor: Visitor) -> None:
    path = f"/jobs/{one(show, state=JobState.DEAD)}"
    live = visitor.get(path, x_embedq_live="1")
    assert "<html" not in live.text
    assert "ConnectionError" in live.text
    again = visitor.get(path, x_embedq_live="1", if_none_match=live.headers["ETag"])
    assert (again.status_code, again.text) == (304, "")
    other = visitor.get("/recurring", x_embedq_live="1", if_none_match=live.headers["ETag"])
    assert other.status_code == 200


def test_an_open_page_polls_no_faster_than_it_is_rendered(app: EmbedQ) -> None:
    """A page that took 10 ms is not asked for again within 1.5 s."""
    clock = app.clock

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(clock, name)

        ticks = 0.0

        def monotonic(self) -> float:
            Slow.ticks += 0.01
            return Slow.ticks

    visitor = Visitor(dashboard.wsgi(app))
    object.__setattr__(app.engine, "clock", Slow())
    rest = float(visitor.get("/jobs?error=nowhere", x_embedq_live="1").headers["X-Embedq-Rest"])
    assert 1.5 <= rest <= 60
    assert "X-Embedq-Rest" not in visitor.get("/jobs").headers


def test_every_time_is_exact_on_hover(visitor: Visitor) -> None:
    times = re.findall(r"<time ([^>]*)>", visitor.get("/jobs").text)
    assert times
    for attributes in times:
        assert re.search(r'datetime="\d{4}-\d\d-\d\dT[^"]+\+00:00"', attributes)
        assert re.search(r'title="\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"', attributes)


def test_a_damaged_row_is_shown_all_the_same(app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1).id
    SQLiteHome().execute(app.settings.url, f"UPDATE embedq_jobs SET payload = '[[1', tags = '{{' WHERE id = {job}")
    visitor = Visitor(dashboard.wsgi(app))
    assert "cannot be read" in words(visitor.get(f"/jobs/{job}").text)
    assert visitor.get("/jobs").status_code == 200
    assert visitor.get(f"/api/jobs/{job}").json["arguments"] is None


def test_a_missing_database_is_reported_and_not_made(tmp_path: object) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/none.db")
    visitor = Visitor(dashboard.wsgi(app, authorize=lambda request: True, secret_key="0123456789abcdef"))
    answer = visitor.get("/")
    assert answer.status_code == 503
    assert "none.db" in answer.text
    assert json.loads(visitor.get("/api/stats").text)["error"]
    # Strangers learn no more than that.
    stranger = Visitor(dashboard.wsgi(app), stranger=True)
    assert stranger.get("/").status_code == 503
    assert "none.db" not in stranger.get("/").text + stranger.get("/api/stats").text
    assert not app.engine.connected
