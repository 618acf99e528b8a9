"""The pytest plugin of embedq: the fixture `embedq_app` and the marker `embedq`. See docs/testing.md.

It is not in the package, because pytest imports it in every project that has embedq installed, and importing any part
of `embedq` imports all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from embedq.testing import AppUnderTest

_GUARD = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "embedq_guard",
        "refuse to let tests without the fixture embedq_app use embedq's default app",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "embedq(**options): use the fixture embedq_app, with options such as inline=True or now=datetime(…) "
        "(the keywords of embedq.testing.app_under_test)",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getini("embedq_guard"):
        from embedq.testing.guard import default_app_guarded

        session.config.stash[_GUARD] = stack = ExitStack()
        stack.enter_context(default_app_guarded())


def pytest_unconfigure(config: pytest.Config) -> None:
    if _GUARD in config.stash:
        config.stash[_GUARD].close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let marked tests use the fixture, even if they do not take it; and let it come first.

    It comes before the test's other fixtures, except those that outlive the test: one of them may start the program.
    """
    if isinstance(item, pytest.Function) and (
        "embedq_app" in item.fixturenames or item.get_closest_marker("embedq") is not None
    ):
        known = item._fixtureinfo.name2fixturedefs
        others = [name for name in item.fixturenames if name != "embedq_app"]
        shared = [name for name in others if name in known and known[name][-1].scope != "function"]
        item.fixturenames = [*shared, "embedq_app", *(name for name in others if name not in shared)]


@pytest.fixture
def embedq_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AppUnderTest]:
    """embedq's default app on a database of this test's own: nothing runs by itself, and the clock is stopped."""
    from embedq.testing import app_under_test

    options = {}
    for marker in reversed(list(request.node.iter_markers("embedq"))):
        if marker.args:
            pytest.fail("@pytest.mark.embedq takes keywords only, such as inline=True", pytrace=False)
        options.update(marker.kwargs)
    with app_under_test(**{"folder": tmp_path, **options}) as app:
        yield app
