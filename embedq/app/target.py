"""What all verbs have in common: the app that they act on."""

from __future__ import annotations

from typing import Protocol

from embedq.app.parts import AppParts
from embedq.tasks.task import Enqueuer


class VerbsTarget(Enqueuer, Protocol):
    """An app, as the verbs need it."""

    _parts: AppParts


class AppVerbs:
    """Verbs of an app."""

    __slots__ = ()

    def _app(self) -> VerbsTarget:
        """Return the app that the verbs act on."""
        raise NotImplementedError
