"""The context variables of jobs: each job has its own `contextvars.Context`, a copy of the one at the start.

So what a job binds (a user for structlog, a language for Django) is not visible to the next job on its thread, and what
was set before `start` is visible to all. Python's decimal context is a context variable too. State of the process or
the thread is not isolated: `locale.setlocale`, `os.environ`, the current directory, `threading.local`.

The surprise: a copied Context shares the values. A decimal context is modified in place, so each job gets a copy of it.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial

# Not copied from the code that calls `start`: the application's open transaction.
_OWN = ("embedq_block",)


class Contexts:
    """Creates the contexts of jobs. It is created where the app is started.

    Args:
        base: the context that is copied; the caller's when None.
    Attributes:
        fresh: returns a context for one job.
    """

    def __init__(self, base: Context | None = None) -> None:
        self._base = copy_context() if base is None else base.copy()
        for variable in self._base:
            if variable.name in _OWN:
                self._base.run(variable.set, None)
        shared = [value for value in self._base.values() if isinstance(value, decimal.Context)]
        self.fresh: Callable[[], Context] = partial(self._with_decimal, shared[0]) if shared else self._base.copy

    def _with_decimal(self, shared: decimal.Context) -> Context:
        context = self._base.copy()
        context.run(decimal.setcontext, shared.copy())
        return context
