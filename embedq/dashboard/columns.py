"""Extensions of the dashboard's pages: columns in lists of jobs, and metrics on the overview."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedq.job import Job
from embedq.observability.log import get_logger

logger = get_logger("embedq.dashboard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column in lists of jobs.

    Attributes:
        value: called for each job that is shown; None can_log_out the cell empty.
    """

    title: str
    value: Callable[[Job], Any]

    def of(self, job: Job) -> Any:
        """Return the cell of a job."""
        return _guarded(self.title, self.value, job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number on the overview.

    Attributes:
        value: called each time the overview is rendered.
        hint: a line below it.
    """

    title: str
    value: Callable[[], Any]
    hint: str = ""

    def now(self) -> Any:
        """Return the current value."""
        return _guarded(self.title, self.value)


def _guarded(title: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        value = function(*args)
    except Exception:
        logger.exception("the function of %r in the dashboard failed", title)
        return "failed; see the log"
    return "" if value is None else value
