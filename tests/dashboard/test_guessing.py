"""A secret that is not shown cannot be guessed: what matches only by it is no match anywhere."""

from __future__ import annotations

import json

import pytest

from embedq import EmbedQ, dashboard
from embedq.dashboard import Access
from embedq.display.redaction import Hidden
from embedq.operations.monitor import as_search
from embedq.storage.inspect import searching
from embedq.storage.inspect.filters import Search
from tests.dashboard.visitors import Visitor, words


@pytest.fixture
def stored(app: EmbedQ) -> EmbedQ:
    """Three jobs with a secret, and one that says the same openly, the oldest."""

    def login(user: str, password: str = "", note: str = "") -> None: ...

    task = app.job(name="shop:login")(login)
    app.enqueue_in(600, task, "ada", note="hunter2xyz is a bad one")
    app.enqueue_in(600, task, "ada", password="hunter2xyz")
    app.enqueue_in(600, task, "bob", "hunter2xyz")
    app.enqueue_in(600, task, "redis://cache:hunter2xyz@host")
    return app


def found(visitor: Visitor, query: str) -> tuple[list[int], str | None, bool, str | None]:
    answer = visitor.get(f"/api/jobs?{query}").json
    return [job["id"] for job in answer["jobs"]], answer["next"], answer["exhausted"], answer["scanned_to"]


@pytest.mark.parametrize("more", ["", "&state=scheduled", "&ids=2&ids=3&ids=4", "&name=shop:login", "&queue=default"])
def test_a_right_guess_is_answered_as_a_wrong_one(stored: EmbedQ, more: str) -> None:
    stored.job(1).cancel()
    stored.actions.delete(actor="ada", ids=[1])
    visitor = Visitor(dashboard.wsgi(stored, authorize=lambda request: Access.read_only("eve")))
    for size in (1, 2, 50):
        right, wrong = (found(visitor, f"argument=hunter{n}&size={size}{more}") for n in (2, 3))
        assert right == wrong == ([], None, True, None)


def test_the_bound_of_a_scan_does_not_change_this(stored: EmbedQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "REDACTED_SCAN_LIMIT", 1)
    visitor = Visitor(dashboard.wsgi(stored))
    looks = []
    query = "argument=hunter2&size=1"
    cursor: str | None = ""
    while cursor is not None:
        ids, cursor, exhausted, _ = found(visitor, query + (f"&cursor={cursor}" if cursor else ""))
        looks.append((ids, exhausted))
    assert len(looks) > 2
    assert [look for look in looks if look[0]] == [([1], False)]


def test_what_is_not_found_is_not_counted_and_not_acted_upon(stored: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(stored))
    asked = visitor.post("/act", {"verb": "cancel", "scope": "all", "argument": "hunter2xyz"})
    assert "Cancel 1 job?" in words(asked.text)
    sent = visitor.send("/api/actions", {"verb": "cancel", "filters": {"argument": "hunter2xyz"}}).json
    action = stored.actions.wait(sent["id"], timeout=20)
    assert (action.expected and action.expected.number, action.changed) == (1, 1)
    assert [job.id for job in stored.jobs(state="cancelled")] == [1]
    assert "hunter2xyz" in action.subject
    assert "passw" not in action.subject


def test_an_action_that_another_process_takes_up_knows_what_was_hidden(stored: EmbedQ) -> None:
    wanted = as_search({"argument": "x", "hidden": Hidden(patterns=("a", "b"), places={"shop:login": (1,)})})
    again = Search.of(json.loads(json.dumps(wanted.given)))
    assert again.hidden is not None
    assert again.hidden.patterns == ("a", "b")
    assert not again.hidden.shows("hush", "shop:login", '[["x","hush"],{}]')


def test_what_is_shown_is_found(stored: EmbedQ) -> None:
    assert found(Visitor(dashboard.wsgi(stored, redact=[])), "argument=hunter2xyz")[0] == [4, 3, 2, 1]
