"""Hooks that run after the application's commit: SQLAlchemy's sessions and Django's connections offer them.

Plain connections do not; nor does SQLAlchemy's Connection, whose event comes before the commit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from embedq.storage import external

Callback = Callable[[], None]
# The key in a session's `info` of the callbacks that wait for its commit.
_KEY = "embedq.after_commit"


def after_commit(target: Any, callback: Callback) -> bool:
    """Call `callback` when the open transaction, with every savepoint that is open in it, has been committed.

    It is called at once if Django has no transaction open. What it raises reaches the caller of the commit; in Django,
    callbacks that were added after it are then not called.

    Returns:
        False when the target does not report its commits; then the callback is never called.
    """
    session = external.sqlalchemy_session(target)
    if session is not None:
        waiting = session.info.get(_KEY)
        if waiting is None:
            waiting = session.info[_KEY] = _SessionCallbacks(session)
        waiting.add(callback)
        return True
    wrapper = external.django_wrapper(target)
    if wrapper is not None:
        wrapper.on_commit(callback)
        return True
    return False


class _SessionCallbacks:
    """The callbacks that wait for one session's commit, each with the savepoint in which it was added."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._callbacks: list[tuple[Any, Callback]] = []
        self._committed = False
        event = sys.modules["sqlalchemy"].event
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_transaction_end", self._after_end)

    def add(self, callback: Callback) -> None:
        # A session that has done nothing yet has no transaction, and would not report its rollback.
        if not self._session.in_transaction():
            self._session.begin()
        self._callbacks.append((self._session.get_nested_transaction(), callback))

    def _after_commit(self, session: Any) -> None:
        ended = session.get_nested_transaction()
        if ended is None:
            self._committed = True
            return
        # A released savepoint now belongs to the transaction around it.
        around = ended.parent
        while around is not None and not around.nested:
            around = around.parent
        self._callbacks = [(around if scope is ended else scope, call) for scope, call in self._callbacks]

    def _after_end(self, session: Any, transaction: Any) -> None:
        if transaction.nested:
            # It was rolled back: the callbacks of a released savepoint belong to another scope by now.
            self._callbacks = [(scope, call) for scope, call in self._callbacks if scope is not transaction]
        elif transaction.parent is None:
            callbacks, self._callbacks = self._callbacks, []
            committed, self._committed = self._committed, False
            errors = []
            for _, call in callbacks if committed else []:
                try:
                    call()
                except Exception as error:
                    # The other callbacks are still called.
                    errors.append(error)
            if errors:
                raise errors[0]
