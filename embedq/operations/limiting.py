"""Limits at run time: their values and use, changing them for all processes, and why a job waits."""

from __future__ import annotations

from enum import Enum
from typing import Final

from embedq.engine.job_builder import check_text
from embedq.engine.lifecycle import Engine
from embedq.errors import ConfigurationError
from embedq.flow.limits import Limit, check_bound, declared
from embedq.operations.action_runner import process_label
from embedq.operations.pausing import actor_name
from embedq.storage import actions, permits
from embedq.storage.actions import ActionState, NewAction
from embedq.storage.base import Transaction
from embedq.storage.limit_use import LimitUse, limits_in_use
from embedq.storage.rows import storable
from embedq.storage.why_waiting import why_waiting

# Limits that an error lists.
LISTED = 20


class _Kept(Enum):
    KEPT = "kept"


KEPT: Final = _Kept.KEPT
"""A value that stays as it was set."""
Bound = int | None | _Kept


class Limiting:
    """What `set_limit`, `limits` and `why_waiting` of one app do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def change(
        self, limit: Limit | str, *, total: Bound = KEPT, each: Bound = KEPT, actor: str | None = None
    ) -> tuple[int | None, int | None]:
        """Set a total, a number for each key, or both; `KEPT` leaves one as it was set. See `QueueVerbs.set_limit`.

        Returns:
            What is set now: the total, and the number for each key; None where the code's value stands.
        """
        name = limit.name if isinstance(limit, Limit) else limit
        if not isinstance(name, str) or not name or "\0" in name:
            raise ConfigurationError(
                f"{limit!r} is no limit: give a name, or what embedq.limit returned; a function's own has its name"
            )
        check_text("limit", name)
        for which, value in (("total", total), ("each", each)):
            if value is not KEPT:
                check_bound(which, value)
        by, now = actor_name(actor), self._engine.clock.now()

        def store(tx: Transaction) -> tuple[int | None, int | None] | None:
            known = declared().get(name)
            if known is not None and not permits.stored_values(tx, [name]):
                permits.declare(tx, {name: known}, now=now)
            before = permits.set_before(tx, name)
            new_total = before[0] if total is KEPT else total
            new_each = before[1] if each is KEPT else each
            if not permits.set_values(tx, name, total=new_total, each=new_each, actor=storable(by), now=now):
                return None
            action = NewAction(
                actor=by, verb="set limit", subject=f"limit {name}", process=process_label(), state=ActionState.DONE,
                details={"total": new_total, "each": new_each, "total_before": before[0], "each_before": before[1]},
            )  # fmt: skip
            actions.begin(tx, action, now=now)
            return new_total, new_each

        stored = self._engine.database.write(store)
        if stored is None:
            raise ConfigurationError(self._unknown(name))
        self._engine.notify(now)
        return stored

    def all(self) -> list[LimitUse]:
        """See `QueueVerbs.limits`."""
        return self._engine.database.read(limits_in_use, now=self._engine.clock.now())

    def why_waiting(self, job_id: int) -> str | None:
        """See `QueueVerbs.why_waiting`."""
        reasons = self._engine.database.read(why_waiting, job_id, now=self._engine.clock.now())
        return "; ".join(reasons) or None

    def _unknown(self, name: str) -> str:
        names = sorted({*declared(), *self._engine.database.read(permits.names, limit=LISTED)})
        known = ", ".join(names[:LISTED]) or "none"
        return (
            f"there is no limit {name!r}; a limit is stored when a process meets it. Known are: "
            f"{known}{', …' if len(names) > LISTED else ''}"
        )
