"""The doctor's findings about limits: one of 0, and a key that starves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from embedq import EmbedQ, Limit, Task
from embedq.clock import SECOND
from embedq.flow.limits import declare
from embedq.operations.limiting import Limiting
from tests.doctor.test_doctor import doctor, in_words
from tests.support import eventually

HOUR = 3600 * SECOND


class Mail:
    """A function under a limit of one run for each tenant; acme's runs until it is released."""

    def __init__(self, app: EmbedQ) -> None:
        self.app = app
        self.release = threading.Event()

        @app.job(name="mail:send", concurrency=Limit(1, per="tenant"))
        def send(tenant: str) -> None:
            if tenant == "acme":
                self.release.wait(60)

        self.send: Task[[str], Any] = send

    def age(self, condition: str, *columns: str, hours: int = 2) -> None:
        """Let what matches be so much older."""
        moved = ", ".join(f"{column} = {column} - {hours * HOUR}" for column in columns)
        self.app.database.write(lambda tx: tx.select(f"UPDATE embedq_jobs SET {moved} WHERE {condition}"))


@pytest.fixture
def mail(app: EmbedQ) -> Iterator[Mail]:
    mail = Mail(app)
    yield mail
    mail.release.set()


def test_without_limits_there_is_nothing_to_find(app: EmbedQ) -> None:
    assert doctor(app.settings.url).checked["Limits"] == ["no limits"]


def test_a_limit_of_0_is_a_note_until_jobs_wait_for_it(mail: Mail) -> None:
    app, url = mail.app, mail.app.settings.url
    app.set_limit("mail:send", total=0, actor="ada")
    found = doctor(url).about("limit-zero")
    assert (found["severity"], found["section"]) == ("note", "Limits")
    assert found["problem"].startswith("the limit 'mail:send' is 0 in total, set by ada, ")
    app.enqueue(mail.send, "acme")
    said = doctor(url)
    found = said.about("limit-zero")
    assert (said.code, found["severity"]) == (1, "warning")
    assert found["problem"].endswith(": no job under it starts; 1 job waiting")
    assert "embedq limits set NAME --reset" in found["advice"]
    app.set_limit("mail:send", total=None)
    assert "limit-zero" not in doctor(url).codes
    assert doctor(url).checked["Limits"] == ["1 limit"]


def test_a_limit_of_0_may_be_for_each_key_or_stand_in_the_code(app: EmbedQ) -> None:
    declare("tests:closed", Limit(0).values())
    declare("tests:each", Limit(1, per="tenant").values())
    limiting = Limiting(app.engine)
    limiting.change("tests:closed", each=7)
    limiting.change("tests:each", each=0, actor="a\x1b[2Jda")
    problems = [finding["problem"] for finding in doctor(app.settings.url).findings if finding["code"] == "limit-zero"]
    assert problems[0].startswith("the limit 'tests:closed' is 0 in total, in the code: ")
    assert problems[1].startswith("the limit 'tests:each' is 0 for each key, set by a\x1b[2Jda, ")
    assert all(line.isprintable() for line in in_words(app.settings.url).split("\n"))


def test_a_key_starves_when_its_jobs_wait_for_long_while_those_of_others_start(mail: Mail) -> None:
    app, url = mail.app, mail.app.settings.url
    running, waits, last = (app.enqueue(mail.send, "acme") for _ in range(3))
    app.start()
    eventually(lambda: running.state == "running")
    app.enqueue(mail.send, "other").wait(20)
    assert "key-starves" not in doctor(url).codes
    mail.age("state = 'ready'", "run_at")
    # Its own job has started lately: there is a backlog, and it goes on.
    assert "key-starves" not in doctor(url).codes
    mail.age("state = 'running'", "started_at")
    found = doctor(url).about("key-starves")
    assert found["problem"] == (
        "under the limit 'mail:send' the next job of 'acme' has waited for 2 h, while jobs of other keys started; "
        "2 jobs waiting"
    )
    assert found["details"] == [f"job {waits.id}: limit mail:send of acme: 1 run, 1 may"]
    assert found["advice"].startswith(f"embedq show {waits.id} gives the reason")
    assert "key-starves" not in doctor(url, "--max-wait", "10000").codes
    app.pause(queue="default")
    assert "key-starves" not in doctor(url).codes
    app.resume(queue="default")
    # None of the others has started while it waited: the limit is idle, and no key takes what is another's.
    mail.age("state = 'succeeded'", "started_at", hours=3)
    assert "key-starves" not in doctor(url).codes
    mail.release.set()
    last.wait(20)
