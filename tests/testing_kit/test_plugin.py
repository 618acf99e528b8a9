"""The fixture, the marker and the guard in a project's own tests; and the same without pytest."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import unittest
from datetime import UTC, datetime
from pathlib import Path

import pytest

import embedq
from embedq.testing import EmbedqTestMixin, app_under_test
from tests.support import ROOT

pytest_plugins = ["pytest_embedq"]

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)

PROJECT = {
    "shop/__init__.py": "",
    "shop/jobs.py": """
        import embedq

        sent = []

        @embedq.job(queue="mail")
        def send_mail(user_id):
            sent.append(user_id)

        embedq.recurring("nightly", "0 2 * * *", send_mail, 0)
        """,
    "shop/web.py": """
        import embedq

        def create_app():
            embedq.start("sqlite:///shop.db", workers=3, timeout=60)
            from shop.jobs import send_mail    # imported late, in the first test
            embedq.recurring("of the app", "0 3 * * *", send_mail, 1)
            return send_mail
        """,
    "tests/conftest.py": """
        import pytest

        @pytest.fixture
        def client():
            from shop.web import create_app
            return create_app()
        """,
}


def pytest_in(folder: Path, test: str, *options: str, **files: str) -> str:
    """Run a test file in a project; what pytest printed, in short."""
    for name, text in {**PROJECT, "tests/test_shop.py": test, **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "pytest_embedq", "-p", "no:cacheprovider",
         "--strict-markers", "-q", "--rootdir=.", *options, "tests"],
        cwd=folder, env={"PYTHONPATH": f"{folder}:{ROOT}", "PATH": ""}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_a_projects_tests_share_nothing_and_its_own_database_is_not_touched(tmp_path: Path) -> None:
    told = pytest_in(
        tmp_path,
        """
        import threading
        from datetime import UTC, datetime
        import pytest

        def test_the_fixture_comes_before_those_that_start_the_program(client, embedq_app):
            from shop.jobs import sent
            job = client.enqueue(7)
            assert threading.active_count() == 1
            [found] = embedq_app.assert_enqueued(client, 7)
            assert (found.id, found.queue) == (1, "mail")
            assert embedq_app.app.settings.timeout == 60
            embedq_app.drain()
            assert sent == [7]
            embedq_app.assert_scheduled("of the app")

        def test_the_next_one_begins_anew_with_what_imports_have_declared(embedq_app, tmp_path):
            embedq_app.assert_nothing_enqueued()
            assert [one.name for one in embedq_app.app.schedules()] == ["nightly"]
            assert embedq_app.app.settings.timeout == 1800
            assert [path.name for path in tmp_path.glob("*.db")] == ["embedq_app.db"]

        @pytest.mark.embedq(inline=True, now=datetime(2027, 1, 1, tzinfo=UTC), workers=2)
        class TestMarked:
            def test_a_marker_is_enough(self, client):
                from shop.jobs import sent
                client.enqueue(8)
                assert sent[-1] == 8

            @pytest.mark.embedq(inline=False)
            @pytest.mark.parametrize("number", [1, 2])
            def test_the_nearer_marker_wins(self, client, embedq_app, number):
                client.enqueue(9)
                assert embedq_app.enqueued[0].state == "ready"
                assert (embedq_app.clock.moment.year, embedq_app.app.settings.workers) == (2027, 3)
        """,
    )
    assert "5 passed" in told, told
    assert not list(tmp_path.glob("*.db*"))


def test_under_pytest_django_a_job_sees_what_its_test_has_not_committed(tmp_path: Path) -> None:
    pytest.importorskip("pytest_django")
    told = pytest_in(
        tmp_path,
        """
        import embedq
        import pytest
        from django.contrib.auth.models import Group

        @embedq.job
        def rename(key):
            Group.objects.filter(pk=key).update(name="renamed")

        @pytest.mark.django_db
        @pytest.mark.parametrize("time", [1, 2])
        def test_a_job_works_on_the_tests_own_connection(embedq_app, time):
            group = Group.objects.create(name="new")
            rename.enqueue(group.pk)
            [job] = embedq_app.assert_enqueued(rename, group.pk)
            assert job.id == 1
            embedq_app.drain()
            assert [one.name for one in Group.objects.all()] == ["renamed"]
        """,
        *("-p", "pytest_django", "--ds=site_settings"),
        **{
            "site_settings.py": """
                DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
                INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "embedq.contrib.django"]
                SECRET_KEY = "of a test"
                """
        },
    )
    assert "2 passed" in told, told


def test_a_program_that_is_started_once_for_all_tests(tmp_path: Path) -> None:
    told = pytest_in(
        tmp_path,
        """
        import pytest
        from embedq.testing import app_under_test

        @pytest.fixture(scope="session", autouse=True)
        def client():
            from shop.web import create_app
            with app_under_test():
                yield create_app()

        @pytest.mark.parametrize("number", [1, 2])
        def test_each_has_what_the_program_set_up(client, embedq_app, number):
            embedq_app.assert_nothing_enqueued()
            client.enqueue(7)
            embedq_app.assert_enqueued(client, 7)
            embedq_app.assert_scheduled("nightly")
            embedq_app.assert_scheduled("of the app")
            assert embedq_app.app.settings.timeout == 60
        """,
    )
    assert "2 passed" in told, told
    assert not list(tmp_path.glob("*.db*"))


def test_a_test_without_the_fixture_fails_where_that_is_configured(tmp_path: Path) -> None:
    test = """
        def test_forgotten(client):
            client.enqueue(7)

        def test_remembered(client, embedq_app):
            client.enqueue(7)
            embedq_app.assert_scheduled("nightly")
        """
    told = pytest_in(tmp_path, test, "-o", "embedq_guard=true")
    assert "1 passed, 1 error" in told, told
    assert "this test would use sqlite:///shop.db. Give it a database of its own: use the fixture embedq_app" in told
    assert not list(tmp_path.glob("*.db*"))


def test_the_plugin_imports_embedq_only_in_projects_that_use_it(tmp_path: Path) -> None:
    told = pytest_in(
        tmp_path,
        """
        import sys

        def test_nothing_of_embedq():
            assert "pytest_embedq" in sys.modules
            assert "embedq" not in sys.modules
        """,
    )
    assert "1 passed" in told, told


# -- without pytest ----------------------------------------------------------------------------------------------------


def double(number: int) -> int:
    return 2 * number


class MixinTests(EmbedqTestMixin, unittest.TestCase):
    embedq_options = {"now": NOON}  # noqa: RUF012

    def test_the_mixin_gives_a_unittest_the_app(self) -> None:
        embedq.enqueue(double, 4)
        self.embedq_app.assert_enqueued(double, 4)
        assert self.embedq_app.clock.moment == NOON

    def test_each_has_its_own(self) -> None:
        self.embedq_app.assert_nothing_enqueued()


def test_the_app_is_what_it_was_when_the_test_is_over(tmp_path: Path) -> None:
    app = embedq.EmbedQ(tmp_path / "real.db", workers=1)
    with app:
        real = app.enqueue(double, 1)
        assert real.result(timeout=10) == 2
        with app_under_test(app=app, folder=tmp_path) as tested:
            assert not app.started
            assert tested.app is app
            job = app.enqueue(double, 21)
            app.stop()
            app.close()
            tested.drain()
            assert job.result() == 42
            assert len(app.jobs()) == 1
        assert app.started
        assert [job.id for job in app.jobs()] == [real.id]
        assert app.enqueue(double, 3).result(timeout=10) == 6
    app.close()


def test_nothing_is_left_running() -> None:
    threads = set(threading.enumerate())
    with app_under_test() as app:
        embedq.enqueue(double, 1)
        app.drain()
    assert set(threading.enumerate()) <= threads


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(embedq.ConfigurationError, match="unknown setting inlin"), app_under_test(inlin=True):
        pass
    with pytest.raises(ValueError, match="has no time zone"), app_under_test(now=datetime(2027, 1, 1)):  # noqa: DTZ001
        pass


def test_what_configures_the_app_before_it_is_used_may_still_do_so() -> None:
    with app_under_test() as app:
        assert app.app.engine.configurable
        app.app.configure("sqlite:///never.db", timeout=3)
        assert app.app.settings.timeout == 3
        assert "never" not in app.app.settings.url
