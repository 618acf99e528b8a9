"""Jobs in a transaction of Django's, by its own connection and without embedq's Django app; each in a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.connections import file_of, mysql_arguments
from tests.databases import Home
from tests.support import Child

SCRIPT = """
    import json, sys
    import django
    from django.conf import settings
    import embedq

    url, database = sys.argv[1], json.loads(sys.argv[2])
    if database["ENGINE"].endswith("mysql"):
        import pymysql
        # As PyMySQL is used with Django, which looks for mysqlclient's version.
        pymysql.version_info = (2, 2, 1, "final", 0)
        pymysql.install_as_MySQLdb()
    settings.configure(DATABASES={"default": database}, USE_TZ=True)
    django.setup()
    from django.db import connection, connections, transaction

    app = embedq.EmbedQ(url, secret_key="a key of the tests").connect()

    @app.job(name="note")
    def note(word):
        return word

    def refused(said, call):
        try:
            call()
        except embedq.TransactionError as error:
            assert said in str(error), error
        else:
            raise AssertionError("not refused")

    def words():
        return [json.loads(job.arguments)[0][0] for job in reversed(app.jobs())]

    with transaction.atomic(), app.transaction(connection):
        note.enqueue("a")
        try:
            with transaction.atomic():
                note.enqueue("lost with its savepoint")
                raise KeyError
        except KeyError:
            pass
        with transaction.atomic():
            note.enqueue("b").then(note, "c")
        app.enqueue_many([note.call("d"), note.call("e")])
        first = note.options(idempotency_key="k").enqueue("f")
        assert note.options(idempotency_key="k").enqueue("g") == first
        assert words() == []
    assert words() == list("abcdef"), words()

    try:
        with transaction.atomic(), app.transaction(connections["default"]):
            note.enqueue("lost")
            raise KeyError
    except KeyError:
        pass
    with app.transaction(connection):
        refused("atomic()", lambda: note.enqueue("alone"))

    with transaction.atomic(), app.on_commit(connection):
        held = note.enqueue("h")
        note.enqueue_in(60, "i")
        try:
            with transaction.atomic():
                note.enqueue("lost with its savepoint")
                raise KeyError
        except KeyError:
            pass
        refused("not written yet", lambda: held.id)
    assert held.state is embedq.JobState.READY
    with app.on_commit(connection):
        assert note.enqueue("j").state is embedq.JobState.READY
    assert words() == list("abcdefhij"), words()

    app.start()
    with transaction.atomic(), app.transaction(connection):
        job = note.enqueue("run")
    assert job.result(timeout=10) == "run"
    app.close()
    print("held")
"""


def django_database(url: str) -> dict[str, Any]:
    """The DATABASES entry for the database of a URL."""
    if url.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": file_of(url)}
    from sqlalchemy.engine import make_url

    parts = make_url(url.partition("?")[0])
    entry = {"NAME": parts.database, "USER": parts.username, "PASSWORD": parts.password or "", "HOST": parts.host}
    if url.startswith("mysql"):
        return {"ENGINE": "django.db.backends.mysql", **entry, "PORT": mysql_arguments(url)["port"]}
    return {"ENGINE": "django.db.backends.postgresql", **entry, "PORT": parts.port or 5432}


def test_djangos_transactions_take_jobs(home: Home, url: str, tmp_path: Path) -> None:
    assert Child(SCRIPT, url, json.dumps(django_database(url)), cwd=tmp_path).finish() == "held\n"
