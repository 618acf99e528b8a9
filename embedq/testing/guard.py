"""Stops a test that lacks the fixture before it writes anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import embedq
from embedq.testing.standin import ForgottenApp


@contextmanager
def default_app_guarded() -> Iterator[None]:
    """Inside, the default app opens no database but that of a test: anything else is a ForgottenFixtureError."""
    app = embedq.default_app()
    guard = ForgottenApp.like(app, app.settings.url, app.clock, {})
    with guard.in_the_place_of(app):
        yield
