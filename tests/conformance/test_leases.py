"""Leadership by lease: one holder at a time, renewed, taken over, and never stuck behind a wrong clock."""

from __future__ import annotations

from embedq.clock import SECOND
from embedq.storage import inspect, servers
from embedq.storage.servers import Lease
from tests.conformance.store import Store
from tests.support import FakeClock


def test_the_first_candidate_leads_and_the_second_does_not(store: Store, clock: FakeClock) -> None:
    assert store.take_lease(1) == Lease(1, 1, clock.now() + 30 * SECOND)
    assert store.take_lease(2) is None
    assert store.take_lease(2, name="another") is not None


def test_the_holder_renews_without_a_change_of_term(store: Store, clock: FakeClock) -> None:
    store.take_lease(1)
    clock.advance(seconds=20)
    assert store.take_lease(1) == Lease(1, 1, clock.now() + 30 * SECOND)
    clock.advance(seconds=20)
    assert store.take_lease(2) is None


def test_a_lease_that_ran_out_goes_to_the_next_in_a_new_term(store: Store, clock: FakeClock) -> None:
    store.take_lease(1)
    clock.advance(seconds=29.999999)
    assert store.take_lease(2) is None
    clock.advance(seconds=0.000001)
    assert store.take_lease(2) == Lease(2, 2, clock.now() + 30 * SECOND)
    assert store.take_lease(1) is None


def test_an_expired_lease_may_still_be_renewed_while_no_process_has_taken_it(store: Store, clock: FakeClock) -> None:
    store.take_lease(1)
    clock.advance(minutes=10)
    renewed = store.take_lease(1)
    assert renewed is not None
    assert renewed.term == 1


def test_a_leader_that_is_gone_frees_its_lease_at_once(store: Store) -> None:
    other = store.server()
    store.take_lease(other)
    assert store.take_lease(1) is None
    store.rescue(other)
    assert store.take_lease(1) is not None
    store.db.write(servers.remove, 1)
    assert store.take_lease(other) is not None


def test_a_lease_from_before_the_clock_stepped_back_blocks_no_process(store: Store, clock: FakeClock) -> None:
    store.take_lease(1)
    clock.advance(hours=-1)
    assert store.take_lease(2) is not None
    assert store.take_lease(1) is None


def test_the_leader_is_seen_among_the_servers(store: Store) -> None:
    other = store.server()
    store.take_lease(other)
    assert [(server.id, server.leader) for server in store.db.read(inspect.servers)] == [(1, False), (other, True)]
