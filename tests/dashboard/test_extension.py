"""Pages, columns and numbers that the application adds."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from embedq import ConfigurationError, EmbedQ, dashboard
from embedq.dashboard import Column, Metric, Page, Visit
from tests.dashboard.visitors import PREFIX, Visitor, words


def test_a_page_has_its_place_in_the_navigation_and_its_text_is_escaped(app: EmbedQ) -> None:
    def orders(visit: Visit) -> str:
        return f"<b>{visit.queue.count_jobs()} jobs</b> for {visit.access.user}"

    def report(visit: Visit) -> Markup:
        return Markup('<h2 id="x">Report</h2><a href="{}">jobs</a>').format(visit.url("jobs", tag="vip"))

    pages = [
        Page(path="orders", title="Orders & more", view=orders),
        Page(path="report", title="R", view=report, live=False),
    ]
    visitor = Visitor(dashboard.wsgi(app, pages=pages))
    page = visitor.get("/x/orders").text
    assert "&lt;b&gt;0 jobs&lt;/b&gt; for token" in page
    assert f'<a href="{PREFIX}/x/orders" aria-current="page">Orders &amp; more</a>' in page
    assert f'<a href="{PREFIX}/jobs?tag=vip">jobs</a>' in visitor.get("/x/report").text
    assert "0 jobs" in visitor.get("/x/orders", x_embedq_live="1").text


def test_a_column_stands_in_lists_and_on_the_jobs_page(app: EmbedQ) -> None:
    job = app.enqueue_in(60, print, 1)
    columns = [
        Column(title="Customer", value=lambda job: f"<i>{job.id}</i>"),
        Column(title="None", value=lambda job: None),
    ]
    visitor = Visitor(dashboard.wsgi(app, columns=columns))
    for path in ("/jobs", f"/jobs/{job.id}"):
        assert f"&lt;i&gt;{job.id}&lt;/i&gt;" in visitor.get(path).text
        assert "Customer" in visitor.get(path).text


def test_a_number_stands_on_the_overview(app: EmbedQ) -> None:
    app.enqueue(print, 1)
    text = words(
        Visitor(dashboard.wsgi(app, metrics=[Metric(title="open orders", value=lambda: 17, hint="today")]))
        .get("/")
        .text
    )
    assert "open orders 17 today" in text


def test_what_fails_reports_it_in_its_own_place(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*args: object) -> str:
        raise RuntimeError("the shop is closed")

    app.enqueue_in(60, print, 1)
    visitor = Visitor(
        dashboard.wsgi(
            app, pages=[Page(path="p", title="P", view=broken)], columns=[Column(title="C", value=broken)],
            metrics=[Metric(title="M", value=broken)],
        )
    )  # fmt: skip
    for path, said in (("/x/p", "This page failed"), ("/jobs", "failed; see the log"), ("/", "failed; see the log")):
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert said in answer.text
        assert "the shop is closed" not in answer.text
    assert caplog.text.count("RuntimeError: the shop is closed") == 3


def test_an_address_that_cannot_be_one_is_refused() -> None:
    for path in ("", "Orders", "a/b", "../x", "a b"):
        with pytest.raises(ConfigurationError, match="path"):
            Page(path=path, title="T", view=lambda visit: "")
