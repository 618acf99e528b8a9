"""What embedq raises for an error of a database server, and the advice that goes with it.

Each server has a table of such rows; the first row that matches an error applies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from embedq.errors import StorageBusyError, StorageError, StorageFullError, StorageRefusedError, StorageUnavailableError


class Advice(NamedTuple):
    """One row: how to recognise the error, embedq's class for it, and the message.

    Attributes:
        match: in the server's own terms: error numbers, or a pattern.
        text: what happened and what to do. `{label}` names the database; `{detail}` is the server's own message.
    """

    match: Any
    error: type[StorageError]
    text: str

    def as_error(self, **values: str) -> StorageError:
        """Return the exception with the message filled in."""
        return self.error(self.text.format(**values))


# The rows that servers have in common.
NO_SPACE = (
    StorageFullError,
    "no space left on the server of {label}; nothing was written. Free space on its disk. Running jobs keep their "
    "results and are recorded when there is room. {detail}",
)
CONFLICTS = (StorageBusyError, "other transactions conflicted again and again; nothing was written. {detail}")
REFUSED = (
    StorageRefusedError,
    "{label} does not accept what was to be written, and would not accept it later either. Nothing was written. "
    "{detail}",
)
UNAVAILABLE = Advice(
    None,
    StorageUnavailableError,
    "{label} cannot be reached, or failed. What was not acknowledged was not written. Look at the server and its log. "
    "{detail}",
)
