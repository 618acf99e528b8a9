"""What parked jobs need, and which of these needs this process meets.

The check imports nothing and runs no job, so it may be wrong. When a job was claimed because of it and parked again,
that need is not tried again until something changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Needs:
    """The needs of parked jobs, for one dispatcher.

    Attributes:
        known: needs that this process meets: parked jobs with one of them are claimed like ready jobs.
    """

    def __init__(self) -> None:
        self.known: tuple[str, ...] = ()
        # Needs that seemed to be met at any time, and those of them that turned out not to be.
        self._offered: set[str] = set()
        self._unmet: set[str] = set()

    def check(self, waiting: Iterable[str], has: Callable[[str], bool]) -> None:
        """Check which of the needs in `waiting` are met."""
        self.known = tuple(needs for needs in waiting if needs not in self._unmet and has(needs))
        self._offered.update(self.known)

    def lacks(self, needs: str) -> None:
        """Record that a job was parked here because of this need."""
        # What is missing now may be imported in a moment; only a need that was tried in vain is not tried again.
        if needs in self._offered:
            self._unmet.add(needs)
        self.known = tuple(other for other in self.known if other != needs)

    def try_again(self) -> None:
        """Forget which needs were not met: something changed."""
        self._unmet.clear()
