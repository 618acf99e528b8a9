"""Calling a function after somebody else's commit: SQLAlchemy's sessions and Django's connections tell of theirs.

Plain connections do not; nor does SQLAlchemy's Connection, whose event comes before the commit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from embedq.storage import foreign

Callback = Callable[[], None]
# Where a session keeps what waits for its commit.
_KEY = "embedq.after_commit"


def after_commit(target: Any, callback: Callback) -> bool:
    """Call `callback` when the open transaction, with every savepoint that is open in it, has been committed.

    Called at once where Django has no transaction open. What it raises reaches the caller of the commit; in Django, so
    that those which were added after it are not called.

    Returns:
        False when the target tells of no commits; then it is never called.
    """
    session = foreign.sqlalchemy_session(target)
    if session is not None:
        waiting = session.info.get(_KEY)
        if waiting is None:
            waiting = session.info[_KEY] = _Waiting(session)
        waiting.add(callback)
        return True
    wrapper = foreign.django_wrapper(target)
    if wrapper is not None:
        wrapper.on_commit(callback)
        return True
    return False


class _Waiting:
    """What waits for one session's commit, each with the savepoint in which it was added."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._callbacks: list[tuple[Any, Callback]] = []
        self._committed = False
        event = sys.modules["sqlalchemy"].event
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_transaction_end", self._after_end)

    def add(self, callback: Callback) -> None:
        # A session that has done nothing yet has no transaction, and would not tell of its rollback.
        if not self._session.in_transaction():
            self._session.begin()
        self._callbacks.append((self._session.get_nested_transaction(), callback))

    def _after_commit(self, session: Any) -> None:
        ended = session.get_nested_transaction()
        if ended is None:
            self._committed = True
            return
        # A savepoint's fate is now that of what it is in.
        around = ended.parent
        while around is not None and not around.nested:
            around = around.parent
        self._callbacks = [(around if scope is ended else scope, call) for scope, call in self._callbacks]

    def _after_end(self, session: Any, transaction: Any) -> None:
        if transaction.nested:
            # Its own, if it was released, are not its own any more.
            self._callbacks = [(scope, call) for scope, call in self._callbacks if scope is not transaction]
        elif transaction.parent is None:
            callbacks, self._callbacks = self._callbacks, []
            committed, self._committed = self._committed, False
            errors = []
            for _, call in callbacks if committed else []:
                try:
                    call()
                except Exception as error:
                    # The others have nothing to do with it.
                    errors.append(error)
            if errors:
                raise errors[0]
