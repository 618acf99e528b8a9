"""The same pages and actions on every database, in processes that share no key file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from embedq import Discard, EmbedQ, dashboard
from tests.dashboard.visitors import Visitor, words


@pytest.fixture
def queue(url: str) -> Iterator[EmbedQ]:
    app = EmbedQ(url, stop_timeout=5).connect()
    yield app
    app.close()


def test_pages_searches_and_actions(queue: EmbedQ) -> None:
    def fail(n: int) -> None:
        raise Discard(f"number {n}")

    task = queue.job(name="tests:fail", tags=["bad"])(fail)
    jobs = queue.enqueue_many([task.call(n) for n in range(3)])
    queue.recurring("daily", "@daily", task, 7)
    queue.start()
    for job in jobs:
        job.wait(timeout=20)
    queue.stop()
    visitor = Visitor(dashboard.wsgi(queue, authorize=lambda request: True))
    for path in (
        "/", "/?span=day", "/?span=week", "/jobs", f"/jobs/{jobs[0].id}", "/jobs?tag=bad&state=dead&error=number",
        "/jobs?argument=2", "/jobs?error_group=Discard:+number+%23", "/dead", "/recurring", "/recurring/calendar",
        "/recurring/of/daily", "/queues", "/limits", "/servers", "/tasks", "/tasks/of/tests:fail", "/audit",
        "/api/health", "/api/limits",
    ):  # fmt: skip
        assert visitor.get(path).status_code == 200, (path, words(visitor.get(path).text))
    assert visitor.get("/jobs?tag=bad&state=dead&error=number").text.count("data-row") == 3
    # Another process of the application answers the form: it has the same key.
    token = visitor.token()
    process = EmbedQ(queue.settings.url).connect()
    visitor.move_to(dashboard.wsgi(process, authorize=lambda request: True))
    answer = visitor.post("/act", {"verb": "retry", "ids": jobs[0].id, "csrf": token})
    assert "Retried 1 job" in visitor.follow(answer).text
    assert jobs[0].state == "ready"
    process.close()
