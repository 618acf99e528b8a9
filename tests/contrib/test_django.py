"""Django: the app in a real project, its servers and management commands, each in a process of its own.

What holds inside a project is in django_site/project_tests.py, which is run here on each database.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import embedq
from embedq import JobState
from embedq.storage import backends
from tests.contrib.django_site import TASKS_FRAMEWORK
from tests.databases import KINDS, POSTGRESQL
from tests.mysql_home import MYSQL
from tests.support import ROOT, eventually

pytest.importorskip("django")
if sys.version_info < (3, 12):
    pytest.importorskip("django_tasks")

IMMEDIATE = {"transaction_mode": "IMMEDIATE"}


class Site:
    """The small project, with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "site.sqlite3"
        self.database: dict[str, Any] = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self.file),
            "OPTIONS": IMMEDIATE,
        }
        self.embedq: dict[str, Any] = {}
        self.folder, self.settings = ROOT, "tests.contrib.django_site.settings"

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDQ_", "DJANGO_"))}
        return {
            **kept,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": self.settings,
            "TEST_DATABASE": json.dumps(self.database),
            "TEST_EMBEDQ": json.dumps(self.embedq),
        }

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run Python to its end; what it wrote."""
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environment(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def manage(self, *arguments: str, code: int = 0) -> str:
        """`manage.py …`."""
        return self.run("-m", "django", *arguments, code=code)

    def script(self, *lines: str) -> str:
        """Run lines of Python in a process that sets Django up."""
        return self.run("-c", "\n".join(["import django", "django.setup()", *lines]))

    def app(self) -> embedq.EmbedQ:
        """The project's queue, seen from outside."""
        return embedq.EmbedQ(self.file).connect(migrate=False)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A migrated database, to be copied, and what `manage.py migrate` said."""
    site = Site(tmp_path_factory.mktemp("django"))
    return site.file, site.manage("migrate", "--run-syncdb")


@pytest.fixture
def migrated(site: Site, template: tuple[Path, str]) -> Site:
    shutil.copy(template[0], site.file)
    return site


@pytest.fixture
def serve(migrated: Site) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that goes on; they are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=migrated.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A reloader's child goes with its parent.
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("kind", KINDS)
def test_the_projects_own_tests_pass(kind: str, site: Site) -> None:
    name = f"embedq_django_{os.getpid()}"
    if kind == "sqlite":
        site.database["TEST"] = {"NAME": str(site.file.with_name("test.sqlite3"))}
    else:
        site.database = server_entry(kind, name)
    site.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.contrib.django_site.running",
        "tests/contrib/django_site/project_tests.py",
    )  # fmt: skip


def server_entry(kind: str, name: str) -> dict[str, Any]:
    parts = urlsplit(POSTGRESQL if kind == "postgresql" else MYSQL)
    return {
        "ENGINE": f"django.db.backends.{kind}",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
    }


# -- management commands -----------------------------------------------------------------------------------------------


def test_migrate_makes_embedqs_tables_and_makemigrations_sees_none_of_them(
    migrated: Site, template: tuple[Path, str]
) -> None:
    assert "Applied embedq: schema_0001" in template[1]
    assert backends.open_database(embedq.Settings(url=f"sqlite:///{migrated.file}")).pending_migrations() == []
    # The shop has no migrations, which is its own affair.
    assert "No changes detected" in migrated.manage("makemigrations", "--check", "embedq")


def test_manage_py_embedq_is_the_command_line_on_the_projects_database(migrated: Site) -> None:
    wrote = migrated.script(
        "from django.core.management import CommandError, call_command",
        "from tests.contrib.django_site.shop.jobs import note",
        "note.enqueue('x')",
        "call_command('embedq', 'cancel', '1')",
        "try: call_command('embedq', 'show', '7')",
        "except CommandError as error: print(error.returncode, error)",
    )
    assert "3 no job 7" in wrote
    found = json.loads(migrated.manage("embedq", "--no-color", "jobs", "--json"))
    assert [(job["name"], job["state"]) for job in found["jobs"]] == [
        ("tests.contrib.django_site.shop.jobs:note", "cancelled")
    ]
    assert "no job 7" in migrated.manage("embedq", "show", "7", code=3)
    assert "manage.py embedq worker" in migrated.manage("help", "embedq")
    assert "this build can run all waiting jobs: 0 jobs" in migrated.manage("embedq", "check")


def test_a_task_in_a_process_of_its_own_uses_the_orm(migrated: Site) -> None:
    wrote = migrated.script(
        "import os",
        "from embedq.contrib.django import start",
        "from tests.contrib.django_site.shop import models, tasks",
        "result = tasks.order_aside.enqueue('aside')",
        "start().job(1).wait(30)",
        "result.refresh()",
        "pid, order = result.return_value",
        "print(pid != os.getpid(), models.Order.objects.get(pk=order).name)",
    )
    assert wrote.splitlines()[-1] == "True aside"


def test_a_worker_knows_a_task_that_only_its_caller_has_given_to_embedq(
    migrated: Site, serve: Callable[..., subprocess.Popen[str]]
) -> None:
    migrated.script(
        "from tests.contrib.django_site.shop import tasks", "tasks.elsewhere.using(backend='other').enqueue('here')"
    )
    assert "can run all waiting jobs: 1 job" in migrated.manage("embedq", "check")
    worker = serve("-m", "django", "embedq", "worker")
    app = migrated.app()
    assert app.job(1).result(30) == "here"
    app.close()
    wrote = migrated.script(
        "from tests.contrib.django_site.shop import tasks",
        "from embedq.contrib.django.framework import task_backends",
        "from embedq.contrib.django.task_results import result_id",
        "print(task_backends['other'].get_result(result_id(1)).return_value)",
    )
    assert wrote.splitlines()[-1] == "here"
    worker.terminate()
    worker.wait(30)


def test_manage_py_embedq_check_knows_what_a_deployment_has_removed(migrated: Site) -> None:
    migrated.script(
        "import embedq",
        "embedq.job(name='gone')(print).enqueue()",
        "from tests.contrib.django_site.shop import jobs",
        "jobs.note.enqueue('stays')",
    )
    said = migrated.manage("embedq", "check", code=1)
    assert "1 of 2 jobs and 0 of 0 recurring jobs could not run in this build" in said


def test_a_worker_of_its_own_runs_jobs_and_tasks_and_drains_at_a_signal(
    migrated: Site, serve: Callable[..., subprocess.Popen[str]]
) -> None:
    migrated.script(
        "from tests.contrib.django_site.shop import jobs, tasks", "jobs.note.enqueue('a job')", "tasks.add.enqueue(2)"
    )
    worker = serve("-m", "django", "embedq", "worker", "--workers", "2")
    app = migrated.app()
    eventually(lambda: app.count_jobs(state="succeeded") == 2, seconds=30)
    assert [server.workers for server in app.servers()] == [2]
    worker.terminate()
    assert worker.wait(30) == 0
    app.close()


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_project_on_the_page_about_django_works(site: Site, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "django.md").read_text(encoding="utf-8")
    files = re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL)
    assert {"mysite/settings.py", "mysite/urls.py", "shop/models.py"} <= {name for name, _ in files}
    assert len(files) == page.count("```python")
    site.run("-m", "django", "startproject", "mysite", str(tmp_path))
    (tmp_path / "shop").mkdir()
    site.run("-m", "django", "startapp", "shop", str(tmp_path / "shop"))
    site.folder, site.settings = tmp_path, "mysite.settings"
    for name, code in files:
        # What is added to the settings comes after what Django wrote there.
        before = (tmp_path / name).read_text(encoding="utf-8") if name == "mysite/settings.py" else ""
        code = code.replace("from django.tasks import", f"from {TASKS_FRAMEWORK} import")
        (tmp_path / name).write_text(before + code, encoding="utf-8")
    assert "embedq" not in site.manage("check")
    site.manage("makemigrations", "shop", "--verbosity=0")
    site.manage("migrate", "--verbosity=0")
    wrote = site.script(
        "from embedq.contrib.django import start",
        "from django.test import Client",
        "from shop.tasks import report",
        "app = start()",
        "assert Client(headers={'host': 'localhost'}).get('/buy/').content == b'thank you'",
        "print(app.job(1).result(10))",
        "result = report.enqueue('weekly')",
        "app.job(2).wait(10)",
        "print(report.get_result(result.id).return_value, [schedule.name for schedule in app.schedules()])",
    )
    # Django 6 logs each step of a task there, too.
    printed = [line for line in wrote.splitlines() if not line.startswith("Task id=")]
    assert printed[-2:] == ["mail about tea", "the weekly report ['weekly report']"]


# -- servers -----------------------------------------------------------------------------------------------------------


def test_the_development_server_runs_jobs_in_the_one_process_that_serves(
    migrated: Site, serve: Callable[..., subprocess.Popen[str]]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve("-m", "django", "runserver", str(port))
    app = migrated.app()
    eventually(lambda: app.servers(), seconds=30)
    answer: list[int] = []

    def answered() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/enqueue") as response:
                answer.append(int(response.read()))
        except OSError:
            return False
        return True

    eventually(answered, seconds=30)
    assert app.job(answer[0]).wait(10) is JobState.SUCCEEDED
    [running] = app.servers()
    assert running.pid != server.pid, "the reloader's parent runs no jobs"
    app.close()


def test_a_wsgi_or_asgi_application_starts_the_workers_unless_it_should_not(migrated: Site) -> None:
    wrote = migrated.run(
        "-c",
        "\n".join(
            (
                "import embedq",
                "from django.conf import settings",
                "from django.core.asgi import get_asgi_application",
                "from django.core.wsgi import get_wsgi_application",
                "from django.test.utils import override_settings",
                "app, _ = embedq.default_app(), settings.DEBUG",
                "with override_settings(EMBEDQ={'autostart': False}): get_wsgi_application()",
                "print(app.started)",
                "for make in (get_wsgi_application, get_asgi_application): make(); print(app.started); app.close()",
            )
        ),
    )
    assert wrote.split() == ["False", "True", "True"]


def test_a_site_starts_without_its_database_and_its_workers_as_soon_as_they_can(site: Site) -> None:
    missing = site.file.parent / "not mounted yet"
    site.database["NAME"] = str(missing / "site.sqlite3")
    wrote = site.run(
        "-c",
        "\n".join(
            (
                "import os, embedq",
                "from embedq.contrib.django import binding",
                "from django.core.wsgi import get_wsgi_application",
                "from tests.support import eventually",
                "binding.AGAIN_SECONDS = 0.05",
                "get_wsgi_application()",
                "print(embedq.default_app().started)",
                f"os.mkdir({str(missing)!r})",
                "if os.fork(): os.wait()",
                "eventually(lambda: embedq.default_app().started)",
                "print('started')",
            )
        ),
    )
    assert [line for line in wrote.splitlines() if line in ("False", "started")] == ["False", "started", "started"]


def test_setting_django_up_starts_and_connects_nothing(site: Site) -> None:
    site.script("import threading", "assert threading.active_count() == 1")
    assert not site.file.exists()


# -- settings ----------------------------------------------------------------------------------------------------------


CANNOT_WORK: list[tuple[dict[str, Any], str]] = [
    ({"discover": ["shop/tasks.py"]}, "names 'shop/tasks.py', which is not a module"),
    ({"discover": [None]}, "names None, which is not a module"),
    ({"discover": "services.tasks"}, "must be a list"),
    ({"wrokers": 3}, "EMBEDQ has unknown keys: wrokers; there are: "),
    ({"workers": 0}, "workers=0 must be a whole number"),
    ({"atomic": "perhaps"}, 'EMBEDQ["atomic"]='),
    ({"autostart": "yes"}, 'EMBEDQ["autostart"]='),
    ({"database": "other"}, "is not in DATABASES"),
    ({"middleware": ["shop.nowhere"]}, "which cannot be imported"),
    ({"queues": ["fast"]}, "W002"),
]


def test_what_cannot_work_is_reported_by_the_system_check(site: Site) -> None:
    wrote = site.script(
        "from django.core.checks import run_checks",
        "from tests.contrib.django_site.shop import tasks",
        "from django.test.utils import override_settings",
        f"for given in {[given for given, _ in CANNOT_WORK]!r}:",
        "    with override_settings(EMBEDQ=given): print(*(f'{one.id} {one.msg}' for one in run_checks()))",
    ).splitlines()
    assert [told in line for (_, told), line in zip(CANNOT_WORK, wrote, strict=True)] == [True] * len(wrote), wrote


def test_a_setting_that_cannot_work_stops_a_management_command_and_deferred_transactions_are_warned_of(
    site: Site,
) -> None:
    del site.database["OPTIONS"]
    assert "embedq.W001" in site.manage("check")
    site.embedq = {"workers": 0}
    assert "embedq.E001" in site.manage("check", code=1)


def test_discover_takes_modules_of_packages_and_modules_by_their_whole_name(migrated: Site, tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.mkdir()
    (services / "__init__.py").touch()
    (services / "tasks.py").write_text("import embedq\n\n@embedq.job\ndef serve(): return 'served'\n")
    (services / "broken.py").write_text("import a_module_that_is_not_installed\n")
    migrated.folder = tmp_path
    migrated.embedq = {
        "discover": [
            "services.tasks",
            "services.broken",
            "services.tsaks",
            "nowhere.tasks",
            "jobs.more",
            "taks",
            "jobs",
        ]
    }
    said = migrated.script(
        "import embedq",
        "from embedq.contrib import django as embedq_django",
        "embedq_django.start()",
        "from embedq.tasks.registry import REGISTRY",
        "print('registered', REGISTRY.registered('services.tasks:serve') is not None)",
        "embedq.stop()",
    )
    assert "registered True" in said
    assert "services.broken cannot be imported" in said
    assert "nowhere" not in said
    checked = migrated.manage("check")
    warned = re.findall(r'W003\) EMBEDQ\["discover"\] names \'([\w.]+)\'', checked)
    assert sorted(warned) == ["jobs.more", "nowhere.tasks", "services.tsaks", "taks"]


def test_jobs_in_another_database_wait_for_the_commit_of_the_transaction_that_they_were_enqueued_in(
    migrated: Site,
) -> None:
    migrated.embedq = {"url": f"sqlite:///{migrated.file.with_name('jobs.db')}"}
    wrote = migrated.script(
        "import embedq",
        "from django.db import transaction",
        "from tests.contrib.django_site.shop.jobs import note",
        "with transaction.atomic():",
        "    job = note.enqueue('x')",
        "    print(embedq.default_app().count_jobs())",
        "print(job.state)",
    )
    assert wrote.split() == ["0", "ready"]


@pytest.mark.parametrize("apart", [False, True])
def test_a_test_run_has_a_file_of_its_own_for_jobs_that_cannot_be_in_its_database(apart: bool, site: Site) -> None:
    if apart:
        site.embedq = {"url": f"sqlite:///{site.file}"}
    wrote = site.script(
        "import embedq",
        "from django.db import transaction",
        "from django.test.utils import get_runner, setup_test_environment, setup_databases, teardown_databases",
        "from tests.contrib.django_site.shop.jobs import note",
        "setup_test_environment()",
        "old = setup_databases(verbosity=0, interactive=False)",
        "with transaction.atomic(): job = note.enqueue('x')",
        "print(job.state, embedq.default_app().settings.url)",
        "teardown_databases(old, verbosity=0)",
    )
    assert wrote.startswith("ready sqlite:///")
    assert "embedq-tests-" in wrote
    assert not site.file.exists()


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ({"NAME": "shop"}, "postgresql:///shop"),
        (
            {"NAME": "shop", "USER": "web@shop", "PASSWORD": "a/b:c", "HOST": "db", "PORT": 5433},
            "postgresql://web%40shop:a%2Fb%3Ac@db:5433/shop",
        ),
        (
            {"NAME": "shop", "USER": "web", "HOST": "/run/postgresql", "PORT": "5433"},
            "postgresql://web@/shop?host=%2Frun%2Fpostgresql&port=5433",
        ),
        ({"NAME": "shop", "HOST": "::1"}, "postgresql://[::1]/shop"),
        (
            {"NAME": "", "OPTIONS": {"service": "shop", "pool": True, "isolation_level": 3, "sslmode": "verify-full"}},
            "postgresql:///?service=shop&sslmode=verify-full",
        ),
        (
            {"NAME": "shop", "OPTIONS": {"assume_role": "shop owner", "options": "-c lock_timeout=5s"}},
            "postgresql:///shop?options=-c%20lock_timeout%3D5s%20-c%20role%3Dshop%5C%20owner",
        ),
    ],
)
def test_an_entry_for_postgresql_becomes_a_url_that_reaches_the_same_database(entry: dict[str, Any], url: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    from embedq.contrib.django.addresses import postgresql_url

    assert postgresql_url(entry) == url
    assert conninfo_to_dict(url).get("dbname", "") == entry["NAME"]


def test_an_entry_for_mysql_becomes_a_url_that_reaches_the_same_database() -> None:
    from embedq.contrib.django.addresses import mysql_url
    from embedq.storage.mysql.address import parse

    url = mysql_url(
        {
            "NAME": "shop", "USER": "web", "PASSWORD": "p w", "HOST": "/run/mysqld.sock", "PORT": "3307",
            "OPTIONS": {"ssl": {"ca": "/etc/ca.pem"}, "charset": "utf8mb4", "connect_timeout": 3},
        }
    )  # fmt: skip
    assert url == ("mysql://web:p%20w@/shop?unix_socket=%2Frun%2Fmysqld.sock&ssl_ca=%2Fetc%2Fca.pem&connect_timeout=3")
    assert parse(url).arguments["unix_socket"] == "/run/mysqld.sock"


def test_what_django_imports_late_is_there_before_workers_start(migrated: Site) -> None:
    """A fork in the middle of such an import leaves the child with half a module."""
    said = migrated.script(
        "import sys, embedq",
        "late = 'django.utils.translation.reloader'",
        "assert late not in sys.modules",
        "embedq.EmbedQ.start = lambda app: print('complete' if hasattr(sys.modules[late], 'translation_file_changed')"
        " else 'half')",
        "from embedq.contrib.django import binding",
        "binding.start()",
    )
    assert "complete" in said
