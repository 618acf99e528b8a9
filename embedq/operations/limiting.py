"""Limits at run time: their values and use, changing them for all processes, and why a job waits."""

from __future__ import annotations

from embedq.engine.lifecycle import Engine
from embedq.errors import ConfigurationError
from embedq.flow.limits import Limit, check_bound, declared
from embedq.operations.action_runner import process_label
from embedq.storage import actions, permits
from embedq.storage.actions import ActionState, NewAction
from embedq.storage.base import Transaction
from embedq.storage.limit_use import LimitUse, limits_in_use, why_waiting


class Limiting:
    """What `set_limit`, `limits` and `why_waiting` of one app do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set(self, limit: Limit | str, *, total: int | None, each: int | None, actor: str | None) -> None:
        """See `QueueVerbs.set_limit`."""
        name = limit.name if isinstance(limit, Limit) else limit
        for which, value in (("total", total), ("each", each)):
            check_bound(which, value)
        now = self._engine.clock.now()
        action = NewAction(
            actor=actor or process_label(), verb="set limit", subject=f"limit {name}", process=process_label(),
            state=ActionState.DONE, details={"total": total, "each": each},
        )  # fmt: skip

        def store(tx: Transaction) -> bool:
            known = declared().get(str(name))
            if known is not None and not permits.stored_values(tx, [str(name)]):
                permits.declare(tx, {str(name): known}, now=now)
            if not permits.set_values(tx, str(name), total=total, each=each, now=now):
                return False
            actions.begin(tx, action, now=now)
            return True

        if not self._engine.database.write(store):
            known = ", ".join(sorted(declared())) or "none"
            raise ConfigurationError(f"there is no limit {name!r}; those that this process knows are: {known}")
        self._engine.notify(now)

    def all(self) -> list[LimitUse]:
        """See `QueueVerbs.limits`."""
        return self._engine.database.read(limits_in_use)

    def why_waiting(self, job_id: int) -> str | None:
        """See `QueueVerbs.why_waiting`."""
        return self._engine.database.read(why_waiting, job_id, now=self._engine.clock.now())
