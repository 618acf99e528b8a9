"""Makes the project's own test run: a test database, and embedq following it there.

Only for the files that `tests/contrib/test_django.py` runs in a process of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import django
import pytest

import embedq

django.setup()

from django.db import connection  # noqa: E402
from django.test.utils import (  # noqa: E402
    setup_databases,
    setup_test_environment,
    teardown_databases,
    teardown_test_environment,
)

from tests.contrib.django_site.shop.models import Order  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def project() -> Iterator[None]:
    """The test database, as Django's runner makes it."""
    setup_test_environment()
    old = setup_databases(verbosity=0, interactive=False)
    yield
    embedq.default_app().stop(timeout=5)
    teardown_databases(old, verbosity=0)
    teardown_test_environment()


@pytest.fixture(autouse=True)
def fresh(project: None) -> Iterator[None]:
    """Nothing is left from the test before."""
    embedq.stop(timeout=5)
    Order.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM embedq_attempts")
        cursor.execute("DELETE FROM embedq_jobs")
    yield
    connection.close()


@pytest.fixture
def workers(fresh: None) -> embedq.EmbedQ:
    """The default app, running jobs here."""
    from embedq.contrib.django import start

    return start()


__all__ = ["fresh", "project", "workers"]
