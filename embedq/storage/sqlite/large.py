"""Large arguments are stored apart from the row of their job, which is rewritten at each change; see schema_0008.sql.

In that row the payload is empty then, which it never is otherwise. Rows that an earlier version wrote have them inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from embedq.storage.base import Params
from embedq.storage.columns import JOBS
from embedq.storage.rows import NewJob

# Characters of arguments and code. With less than that a row fits into a page of SQLite's.
LARGE = 3500
# Where the arguments are among the parameters of the statements that insert a whole job; its code is next to them.
PAYLOAD = {name: NewJob._fields.index("payload") for name in ("insert_job", "insert_plain", "insert_each")}
PAYLOAD["copy_jobs"] = tuple(JOBS).index("payload")


class Apart(NamedTuple):
    """The arguments and code of one job that are stored apart."""

    payload: str
    code: str | None


def is_large(payload: str, code: object) -> bool:
    """Return whether they are stored apart."""
    size = len(payload)
    return size >= LARGE or (isinstance(code, str) and size + len(code) >= LARGE)


def split(params: Params, at: int) -> tuple[Params, Apart | None]:
    """A job's columns as they stand in its row, and what stands apart, if anything does.

    Args:
        at: where the payload is.
    """
    # In `insert_plain`, of jobs without code, something else is there.
    payload, code = params[at : at + 2]
    if not is_large(payload, code):
        return params, None
    kept = code if not isinstance(code, str) else None
    return (*params[:at], "", kept, *params[at + 2 :]), Apart(payload, code if isinstance(code, str) else None)


def split_alike(shared: Params, at: int, payloads: Sequence[str]) -> tuple[Params, list[str], dict[int, Apart]]:
    """The same for jobs that share all columns but the payload, which is left out of `shared`.

    Returns: what they share, the payloads in their rows, and by number what stands apart.
    """
    code = shared[at]
    apart = {number: Apart(text, code) for number, text in enumerate(payloads) if is_large(text, code)}
    if not apart:
        return shared, list(payloads), apart
    if len(apart) == len(payloads):
        shared = (*shared[:at], None, *shared[at + 1 :])
    return shared, ["" if number in apart else text for number, text in enumerate(payloads)], apart
