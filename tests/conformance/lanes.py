"""Jobs that stand in lanes, and a process that claims them, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedq.flow.lanes import LaneTurn, Sweep, lane_key
from embedq.flow.limits import Limit, LimitValues
from embedq.storage import permits
from embedq.storage.claims import Claim, Request
from embedq.storage.lanes import LaneRequest, Place
from embedq.storage.rows import ClaimedJob
from tests.conformance.store import Store

LANES = "thread lane"


class Worker:
    """A process that claims from lanes, and remembers what a dispatcher remembers.

    Attributes:
        prepared: the latest claim had to make rows of permits first.
    """

    def __init__(self, store: Store, server: int = 1, **declared: Limit) -> None:
        self.store = store
        self.server = server
        self.declared: Mapping[str, LimitValues] = {name: limit.values() for name, limit in declared.items()}
        self.sweeps: dict[Place, Sweep] = {}
        self.turns: dict[tuple[str, ...], LaneTurn] = {}
        self.turn = 0
        self.prepared = False

    def request(self, limit: int, plain: int = 0, **given: Any) -> Request:
        self.turn += 1
        lanes = LaneRequest(declared=self.declared, sweeps=self.sweeps, turns=self.turns, turn=self.turn)
        return Request(
            server_id=self.server, limits={"thread": plain, LANES: limit}, queues=given.pop("queues", None),
            lanes=lanes, **given,
        )  # fmt: skip

    def claim_once(self, limit: int = 10, plain: int = 0, **given: Any) -> Claim:
        claim = self.store.claim_for(self.request(limit, plain, **given))
        self.sweeps |= claim.lanes.sweeps
        self.turns |= claim.lanes.turns
        if claim.lanes.missing:
            self.store.db.write(permits.create, claim.lanes.missing, now=self.store.now)
        return claim

    def claim(self, limit: int = 10, plain: int = 0, **given: Any) -> list[ClaimedJob]:
        """Claim, and again where rows of permits were missing."""
        claim = self.claim_once(limit, plain, **given)
        self.prepared = bool(claim.lanes.missing)
        if claim.lanes.missing:
            return [*claim.jobs, *self.claim_once(limit - len(claim.jobs), plain, **given).jobs]
        return claim.jobs


def add(store: Store, lane: str | None = None, *limits: tuple[str, str], number: int = 1, **columns: Any) -> list[int]:
    """Insert jobs that stand in a lane, under these limits (name, key)."""
    (limit_1, key_1), (limit_2, key_2) = [*limits, (None, None), (None, None)][:2]
    row = store.draft(
        executor=columns.pop("executor", LANES), lane_key=lane_key(lane, limits), limit_1=limit_1, key_1=key_1,
        limit_2=limit_2, key_2=key_2, **columns,
    )  # fmt: skip
    return store.insert_many([row._replace(payload=f"[[{at}],{{}}]") for at in range(number)])
