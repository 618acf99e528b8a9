"""What parked jobs wait for, and what of it this process has.

To tell that imports nothing and runs no job, so it may be wrong. A job that was claimed for it and parked again says
so, and then it is not tried again until something changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Needs:
    """As one dispatcher knows them.

    Attributes:
        known: what parked jobs wait for and this process has: they are claimed like ready ones.
    """

    def __init__(self) -> None:
        self.known: tuple[str, ...] = ()
        # What it seemed to have at any time, and what of that it has not after all.
        self._offered: set[str] = set()
        self._unmet: set[str] = set()

    def look(self, waiting: Iterable[str], has: Callable[[str], bool]) -> None:
        """Find out what of `waiting` is here."""
        self.known = tuple(needs for needs in waiting if needs not in self._unmet and has(needs))
        self._offered.update(self.known)

    def lacks(self, needs: str) -> None:
        """A job was parked here for want of this."""
        # What is lacking now may be imported in a moment; only what was tried in vain is not tried again.
        if needs in self._offered:
            self._unmet.add(needs)
        self.known = tuple(other for other in self.known if other != needs)

    def try_again(self) -> None:
        """Something changed: what was lacking may be here."""
        self._unmet.clear()
