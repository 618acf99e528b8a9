"""When a job started last under each limit and key: of those that run, and of those that ended last."""

from __future__ import annotations

from embedq.flow.lanes import Pair
from embedq.job import JobState
from embedq.storage.base import Row, Transaction
from embedq.storage.permits import pairs_of

# Ended jobs, and failed attempts, that are looked at.
LOOKED_AT = 2_000


def latest_starts(tx: Transaction) -> dict[Pair, int]:
    """Return moments in microseconds by limit and key (`''` without keys); of some none is known."""
    rows: list[Row] = [*tx.all("running_starts"), *tx.all("failed_starts", (LOOKED_AT,))]
    columns = "limit_1, key_1, limit_2, key_2"
    sql = (
        f"SELECT {columns}, max(started_at) FROM (SELECT {columns}, started_at FROM {{ended_jobs}} "
        f"ORDER BY finished_at DESC LIMIT ?) AS newest WHERE limit_1 IS NOT NULL GROUP BY {columns}"
    )
    rows += tx.select(sql, (JobState.SUCCEEDED, LOOKED_AT))
    found: dict[Pair, int] = {}
    for *named, started in rows:
        for pair in pairs_of(*named) if started is not None else ():
            found[pair] = max(found.get(pair, 0), int(started))
    return found
