"""Limits as people see them: values, use, what waits and which keys are full; why a job waits. The cost is bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from embedq.clock import SECOND, to_datetime
from embedq.flow.holds import HoldKind
from embedq.flow.limits import Limit, Rate
from embedq.storage import holds, permits, waiting_lanes
from embedq.storage.inspect.glance import Count
from embedq.storage.lane_starts import latest_starts
from embedq.storage.limit_use import LimitUse, limits_in_use
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.storage.why_waiting import why_waiting
from tests.conformance.lanes import Worker, add
from tests.conformance.store import Store


def declare(store: Store, **limits: Limit) -> Worker:
    worker = Worker(store, 1, **limits)
    store.db.write(permits.declare, worker.declared, now=store.now)
    return worker


def used(store: Store) -> Mapping[str, LimitUse]:
    return {use.name: use for use in store.db.read(limits_in_use, now=store.now)}


def why(store: Store, job_id: int) -> list[str]:
    return store.db.read(why_waiting, job_id, now=store.now)


def test_a_limit_shows_its_values_what_runs_and_what_waits(store: Store) -> None:
    worker = declare(store, api=Limit(3), idle=Limit(1))
    add(store, None, ("api", ""), number=10)
    assert len(worker.claim()) == 3
    api, idle = used(store)["api"], used(store)["idle"]
    assert (api.total, api.each, api.running, api.waiting, api.full) == (
        3,
        None,
        3,
        Count(number=7, capped=False),
        True,
    )
    assert (idle.running, idle.waiting.number, idle.full, idle.changed, idle.set_by) == (0, 0, False, False, None)


def test_what_is_set_at_run_time_is_shown_beside_the_codes_value_with_its_actor(store: Store) -> None:
    declare(store, api=Limit(2, per="tenant", total=9))
    for _ in range(2):
        # Setting the same again is no error.
        assert store.db.write(permits.set_values, "api", total=4, each=None, actor="ada", now=store.now)
    api = used(store)["api"]
    assert (api.total, api.each, api.code_total, api.code_each, api.changed) == (4, 2, 9, 2, True)
    assert (api.set_by, api.set_at) == ("ada", to_datetime(store.now))
    assert store.db.read(permits.set_before, "api") == (4, None)
    assert store.db.write(permits.set_values, "api", total=None, each=None, actor="ada", now=store.now)
    api = used(store)["api"]
    assert (api.total, api.changed, api.set_by, api.set_at) == (9, False, None, None)
    assert not store.db.write(permits.set_values, "other", total=1, each=None, now=store.now)


def test_keys_that_are_full_are_listed_those_with_most_waiting_first(store: Store) -> None:
    worker = declare(store, mail=Limit(1, per="tenant"))
    add(store, None, ("mail", "few"), number=2)
    add(store, None, ("mail", "many"), number=30)
    add(store, None, ("mail", "done"), number=1)
    assert len(worker.claim()) == 3
    store.clock.advance(seconds=90)
    mail = used(store)["mail"]
    assert [(use.key, use.running, use.waiting.number, use.reason) for use in mail.saturated] == [
        ("many", 1, 29, "1 run, 1 may"), ("few", 1, 1, "1 run, 1 may"), ("done", 1, 0, "1 run, 1 may"),
    ]  # fmt: skip
    assert [use.oldest_seconds for use in mail.saturated] == [90, 90, None]
    assert (mail.saturated_keys.number, mail.waiting.number, mail.full) == (3, 30, False)


def test_a_limit_of_0_for_each_key_lists_the_keys_that_wait(store: Store) -> None:
    declare(store, mail=Limit(1, per="tenant"))
    store.db.write(permits.set_values, "mail", total=None, each=0, now=store.now)
    add(store, None, ("mail", "acme"), number=2)
    [use] = used(store)["mail"].saturated
    assert (use.key, use.running, use.waiting.number, use.reason) == ("acme", 0, 2, "0 run, 0 may")


def test_no_more_than_some_keys_are_listed(store: Store) -> None:
    declare(store, mail=Limit(0, per="tenant"))
    for number in range(30):
        add(store, None, ("mail", f"t{number}"))
    mail = used(store)["mail"]
    assert (len(mail.saturated), mail.saturated_keys.number) == (20, 30)


def test_rates_show_how_many_may_start_and_when_the_next_may(store: Store) -> None:
    worker = declare(store, api=Limit(rate=[Rate(6, per=60, burst=3), Rate(1, per=10, burst=5, key="user")]))
    first, keyed = used(store)["api"].rates
    assert (str(first), first.free, first.next_in) == ("6 in 60 s, burst 3", 3, 0)
    assert (str(keyed), keyed.free, keyed.next_in) == ("1 in 10 s, burst 5 for each key", None, None)
    add(store, None, ("api", "a"), number=5)
    assert len(worker.claim()) == 3
    first, _ = used(store)["api"].rates
    assert (first.free, first.next_in) == (0, 10)
    store.clock.advance(seconds=10)
    assert used(store)["api"].rates[0].free == 1


def test_a_key_whose_rate_is_spent_is_full_until_the_next_start(store: Store) -> None:
    worker = declare(store, api=Limit(rate=Rate(1, per=60, key="user")))
    [_, second] = add(store, None, ("api", "a"), number=2)
    assert len(worker.claim()) == 1
    [use] = used(store)["api"].saturated
    assert (use.key, use.waiting.number, use.reason) == ("a", 1, "rate: next in 1 min 0 s")
    assert why(store, second) == ["rate: next in 1 min 0 s"]
    store.clock.advance(seconds=60)
    assert used(store)["api"].saturated == ()
    assert why(store, second) == []


def test_a_limit_that_a_refusal_has_closed_shows_until_when(store: Store) -> None:
    declare(store, api=Limit(3))
    [job] = add(store, None, ("api", ""))
    store.db.write(permits.close, "api", until=store.now + 30 * SECOND, now=store.now)
    assert used(store)["api"].closed_until == to_datetime(store.now + 30 * SECOND)
    assert why(store, job) == ["limit api is closed for 30 s: a job was refused"]
    store.clock.advance(seconds=30)
    assert used(store)["api"].closed_until is None
    assert why(store, job) == []


def test_a_job_under_two_limits_waits_under_both(store: Store) -> None:
    declare(store, own=Limit(5, per="tenant"), shared=Limit(0))
    add(store, "lane", ("own", "acme"), ("shared", ""), number=3)
    assert (used(store)["own"].waiting.number, used(store)["shared"].waiting.number) == (3, 3)
    assert used(store)["own"].saturated == ()


def test_jobs_of_all_queues_and_priorities_are_counted(store: Store) -> None:
    declare(store, api=Limit(0))
    for queue in ("default", "mail"):
        for priority in (0, 5, -5):
            add(store, None, ("api", ""), queue=queue, priority=priority, number=2)
    assert used(store)["api"].waiting == Count(number=12, capped=False)


def test_counts_are_capped_and_show_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lanes, "COUNT_CAP", 25)
    monkeypatch.setattr(waiting_lanes, "FEWEST_COUNTED", 5)
    declare(store, api=Limit(0))
    add(store, None, ("api", ""), number=26)
    assert used(store)["api"].waiting == Count(number=25, capped=True)


def test_of_many_lanes_some_are_looked_at_in_every_queue(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lanes, "MOST_LANES", 8)
    declare(store, mail=Limit(0, per="tenant"), api=Limit(0))
    for number in range(30):
        add(store, None, ("mail", f"t{number}"))
    add(store, None, ("api", ""), queue="other", number=3)
    found = store.db.read(waiting_lanes.waiting_lanes)
    assert (len(found.lanes), found.capped) == (5, True)
    assert used(store)["mail"].waiting == Count(number=4, capped=True)
    assert used(store)["api"].waiting == Count(number=3, capped=True)


def test_among_many_lanes_that_of_what_runs_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lanes, "MOST_LANES", 4)
    worker = declare(store, api=Limit(1), mail=Limit(0, per="tenant"))
    add(store, None, ("api", ""), number=5)
    assert len(worker.claim()) == 1
    for number in range(40):
        add(store, None, ("mail", f"t{number}"))
    assert used(store)["api"].waiting == Count(number=4, capped=True)


def test_no_more_than_some_places_are_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lanes, "MOST_PLACES", 3)
    for priority in range(6):
        add(store, "lane", priority=priority)
    found = store.db.read(waiting_lanes.waiting_lanes)
    assert (len(found.lanes), found.capped) == (3, True)


def test_the_oldest_of_a_lane_is_the_one_that_is_due_for_longest(store: Store) -> None:
    [first], [second] = add(store, "lane"), add(store, "lane", run_at=store.now - 5)
    [lane] = store.db.read(waiting_lanes.waiting_lanes).lanes
    assert (lane.next.job_id, lane.oldest.job_id, lane.oldest.due_at) == (first, second, store.now - 5)
    assert (lane.name, lane.queue, lane.pairs) == ("lane", "default", ())


def test_a_job_waits_behind_others_of_its_lane_and_for_its_limits(store: Store) -> None:
    worker = declare(store, send=Limit(1, per="tenant", total=5), other=Limit(1, per="tenant"))
    jobs = add(store, None, ("send", "tenant-7"), number=5)
    assert len(worker.claim()) == 1
    assert why(store, jobs[0]) == []
    assert why(store, jobs[1]) == ["limit send of tenant-7: 1 run, 1 may"]
    assert why(store, jobs[4]) == ["behind 3 others of send tenant-7", "limit send of tenant-7: 1 run, 1 may"]
    store.db.write(permits.set_values, "send", total=0, each=None, now=store.now)
    assert why(store, jobs[1]) == ["limit send: 1 run, 0 may"]
    assert why(store, store.insert()) == []
    assert why(store, 10**9) == []
    [unknown] = add(store, None, ("nowhere", ""))
    assert why(store, unknown) == ["no process that knows the limit nowhere has run"]


@pytest.mark.parametrize(
    ("kind", "name", "given", "reason"),
    [
        (HoldKind.QUEUE, "default", {"reason": "migration"}, "queue default is paused by ada{}: migration"),
        (HoldKind.TASK, "tests:job", {"reason": ""}, "task tests:job is paused by ada{}"),
        (HoldKind.EVERYTHING, "", {"reason": "night"}, "everything is paused by ada{}: night"),
    ],
)
@pytest.mark.parametrize("lane", [True, False])
def test_a_paused_job_waits_for_its_pause(
    store: Store, kind: HoldKind, name: str, given: dict[str, Any], reason: str, lane: bool
) -> None:
    job = add(store, "lane")[0] if lane else store.insert()
    later = store.insert(delay=60)
    nine = datetime(2099, 1, 1, 9, tzinfo=UTC)
    store.db.write(holds.put, kind, name, until=None, actor="ada", now=store.now, **given)
    assert why(store, job) == [reason.format("")]
    assert why(store, later) == []
    until = round((nine - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    store.db.write(holds.put, kind, name, until=until, actor="ada", now=store.now, **given)
    assert why(store, job) == [reason.format(" until 2099-01-01 09:00 UTC")]


def test_names_of_limits_are_listed_up_to_a_number(store: Store) -> None:
    declare(store, b=Limit(1), a=Limit(1), c=Limit(1))
    assert store.db.read(permits.names, limit=2) == ["a", "b"]


def test_the_latest_start_of_each_key_is_known_of_running_succeeded_and_failed_jobs(store: Store) -> None:
    worker = declare(store, mail=Limit(5, per="tenant"), all=Limit(5))
    starts = {}
    for key in ("runs", "succeeds", "fails", "dies"):
        add(store, None, ("mail", key), ("all", ""))
        [job] = worker.claim()
        starts["mail", key] = starts["all", ""] = store.now
        if key != "runs":
            endings: dict[str, Callable[[ClaimedJob], Outcome]] = {
                "succeeds": store.succeeded, "fails": store.failed, "dies": store.died,
            }  # fmt: skip
            store.finish(endings[key](job))
        store.clock.advance(seconds=1)
    store.insert()
    store.claim()
    assert store.db.read(latest_starts) == starts
