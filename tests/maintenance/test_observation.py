"""When a process may believe that another is gone: only what it has itself seen stand still, for a whole lease."""

from __future__ import annotations

from embedq.maintenance.observation import HeartbeatObserver

OTHER = 7


def observation() -> HeartbeatObserver:
    return HeartbeatObserver(lease=30, gap=8)


def look_on(seen: HeartbeatObserver, start: float, end: float, heartbeat: int = 100, *, every: float = 4) -> None:
    """Look every few seconds at a heart that stands still."""
    at = start
    while at <= end:
        seen.observe(at, {OTHER: heartbeat})
        at += every


def test_a_heartbeat_that_stood_still_for_a_whole_observed_lease_has_stopped() -> None:
    seen = observation()
    look_on(seen, 0, 28)
    assert not seen.unchanged_for_lease(OTHER, 100)
    seen.observe(32, {OTHER: 100})
    assert seen.unchanged_for_lease(OTHER, 100)


def test_however_old_a_heartbeat_is_a_new_process_waits_for_one_lease() -> None:
    seen = observation()
    seen.observe(1000, {OTHER: -(10**15)})
    assert not seen.unchanged_for_lease(OTHER, -(10**15))


def test_a_process_with_heartbeats_is_alive_whatever_its_clock_shows() -> None:
    seen = observation()
    # Forward by an hour, back by a day, and on.
    for at, heartbeat in enumerate([100, 3_600_000_100, -86_400_000_000, -86_396_000_000] * 10):
        seen.observe(4.0 * at, {OTHER: heartbeat})
        assert not seen.unchanged_for_lease(OTHER, heartbeat)


def test_another_heartbeat_than_the_one_that_was_watched_proves_nothing() -> None:
    seen = observation()
    look_on(seen, 0, 40)
    assert not seen.unchanged_for_lease(OTHER, 101)


def test_an_outage_is_no_death_and_the_watch_begins_anew_after_it() -> None:
    seen = observation()
    look_on(seen, 0, 20)
    seen.restart()
    look_on(seen, 60, 88)
    assert not seen.unchanged_for_lease(OTHER, 100)
    seen.observe(92, {OTHER: 100})
    assert seen.unchanged_for_lease(OTHER, 100)


def test_a_watcher_that_slept_through_a_part_begins_anew() -> None:
    """No look failed, and yet there was nothing to see: the machine was suspended."""
    seen = observation()
    look_on(seen, 0, 20)
    look_on(seen, 3600, 3620)
    assert not seen.unchanged_for_lease(OTHER, 100)


def test_looks_that_come_too_rarely_are_no_watch() -> None:
    seen = observation()
    look_on(seen, 0, 200, every=9)
    assert not seen.unchanged_for_lease(OTHER, 100)


def test_each_process_is_watched_from_when_it_was_first_seen() -> None:
    seen = observation()
    for at in range(0, 33, 4):
        seen.observe(at, {OTHER: 100} if at < 8 else {OTHER: 100, 8: 200})
    assert seen.unchanged_for_lease(OTHER, 100)
    assert not seen.unchanged_for_lease(8, 200)
    assert not seen.unchanged_for_lease(9, 300)


def test_one_that_was_gone_from_the_list_is_watched_anew() -> None:
    seen = observation()
    look_on(seen, 0, 28)
    seen.observe(32, {})
    assert not seen.unchanged_for_lease(OTHER, 100)
    seen.observe(36, {OTHER: 100})
    assert not seen.unchanged_for_lease(OTHER, 100)
