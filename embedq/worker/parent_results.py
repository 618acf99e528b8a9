"""Loads the result of the parent of a continuation."""

from __future__ import annotations

from typing import Any

from embedq.errors import JobError
from embedq.job import JobState
from embedq.serializers import loads_value
from embedq.storage import inspect
from embedq.storage.base import Database


def load_result(database: Database, job_id: int) -> Any:
    """Return the result of the job of that id. JobError if it has none, or does not exist any more."""
    found = database.read(inspect.outcome, job_id)
    if found is None:
        raise JobError(f"the parent job {job_id} is not there any more")
    state, result, error = found
    if state is not JobState.SUCCEEDED or (result is None and error):
        raise JobError(f"the parent job {job_id} left no result: it is {state.value}{f' ({error})' if error else ''}")
    return None if result is None else loads_value(result)
