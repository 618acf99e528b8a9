"""Registering processes, and taking back what dead ones held."""

from __future__ import annotations

from typing import Any

from embedq import Ending, JobState
from embedq.process.poison import SUSPECT_AFTER
from embedq.storage import finishing, inspect, servers
from tests.conformance.store import MAX_CRASHES, RETENTION, Store
from tests.support import FakeClock


def test_a_dead_processs_jobs_go_back_to_the_queue_with_their_attempt(store: Store) -> None:
    job_id = store.insert()
    store.claim(1)
    [outcome] = store.rescue(1)
    assert (outcome.job_id, outcome.ending) == (job_id, Ending.CRASHED)
    job = store.job(job_id)
    assert (job.state, job.attempt, job.crashes, job.server) == (JobState.READY, 0, 1, None)
    [again] = store.claim(store.server())
    assert (again.id, again.attempt, again.claim, again.crashes) == (job_id, 1, 2, 1)


def test_a_crash_is_kept_in_the_history_with_the_process_it_took(store: Store, clock: FakeClock) -> None:
    server = store.server(pid=4711)
    job_id = store.insert()
    store.claim(server)
    clock.advance(seconds=90)
    store.rescue(server)
    [attempt] = store.attempts(job_id)
    assert (attempt.ending, attempt.number, attempt.server) == (Ending.CRASHED, 1, server)
    assert attempt.error == "process 4711 on box died while it ran this job"
    assert (attempt.finished_at - attempt.started_at).total_seconds() == 90


def test_a_job_that_had_not_begun_is_no_suspect(store: Store) -> None:
    ids = store.insert_many([store.draft() for _ in range(3)])
    store.claim(1)
    outcomes = store.rescue(1, started=[ids[1]])
    assert [outcome.ending for outcome in outcomes] == [Ending.RELEASED, Ending.CRASHED, Ending.RELEASED]
    assert [store.job(job_id).crashes for job_id in ids] == [0, 1, 0]
    assert store.states(*ids) == [JobState.READY] * 3
    assert store.attempts(ids[0]) == []


def test_what_a_stopping_process_left_behind_is_no_crash(store: Store) -> None:
    job_id = store.insert()
    store.claim(1)
    store.stop_server(1)
    [outcome] = store.rescue(1, started=[job_id])
    assert outcome.ending is Ending.RELEASED
    assert (store.job(job_id).crashes, store.job(job_id).attempt) == (0, 0)


def test_a_job_that_keeps_killing_its_process_is_set_aside(store: Store) -> None:
    job_id = store.insert()
    states = []
    for crashes in range(MAX_CRASHES):
        server = store.server(pid=7)
        [claimed] = store.claim(server, suspect=crashes >= SUSPECT_AFTER)
        states.append((claimed.crashes, store.rescue(server)[0].state))
    assert states == [(0, JobState.READY), (1, JobState.READY), (2, JobState.DEAD)]
    job = store.job(job_id)
    assert (job.state, job.crashes) == (JobState.DEAD, 3)
    assert job.error == "process 7 on box died while it ran this job, 3 times while no other job ran there; set aside"
    assert job.delete_at is not None
    assert [attempt.ending for attempt in store.attempts(job_id)] == [Ending.CRASHED] * 3


def test_a_crash_among_others_makes_a_suspect_and_never_sets_aside(store: Store) -> None:
    job_id, others = store.insert(), [store.insert(), store.insert()]
    for crashes in range(1, 8):
        server = store.server()
        claimed = [*store.claim(server), *store.claim(server, suspect=True), *store.claim(server, suspect=True)]
        assert job_id in {job.id for job in claimed}
        store.rescue(server)
        job = store.job(job_id)
        assert (job.state, job.crashes) == (JobState.READY, crashes)
    assert [store.job(other).state for other in others] == [JobState.READY] * 2
    assert str(store.attempts(job_id)[0].error).startswith("process 1 on box died while it ran this job and ")


def test_nor_does_a_crash_in_which_another_was_about_to_start(store: Store) -> None:
    jobs = [store.insert(), store.insert()]
    for _ in range(2 * MAX_CRASHES):
        server = store.server()
        store.claim(server)
        store.claim(server, suspect=True)
        store.claim(server, suspect=True)
        store.rescue(server, started=jobs[:1])
    assert store.states(*jobs) == [JobState.READY] * 2


def test_while_two_have_died_alone_each_needs_twice_as_many_crashes(store: Store) -> None:
    jobs = [store.insert(), store.insert()]
    for _ in range(SUSPECT_AFTER):
        server = store.server()
        store.claim(server)
        store.rescue(server)
    deaths = []
    while store.states(*jobs) == [JobState.READY] * 2:
        server = store.server()
        [suspect] = store.claim(server, suspect=True)
        store.rescue(server)
        deaths.append(jobs.index(suspect.id))
    # Each in turn.
    assert deaths == [0, 1] * (2 * MAX_CRASHES - 1) + [0]
    assert store.states(*jobs) == [JobState.DEAD, JobState.READY]
    # Nothing speaks for it any more.
    store.claim(server := store.server(), suspect=True)
    store.rescue(server)
    assert store.state(jobs[1]) is JobState.DEAD


def test_suspects_come_in_the_order_of_what_speaks_against_them(store: Store) -> None:
    first, second, third = (store.insert() for _ in range(3))
    for _ in range(SUSPECT_AFTER):
        server = store.server()
        store.claim(server)
        store.rescue(server)
    server = store.server()
    [one] = store.claim(server, suspect=True)
    [two] = store.claim(server, suspect=True)
    assert (one.id, two.id) == (first, second)
    # The first has lived through its trial; the process dies in that of the second.
    store.db.write(finishing.lived_through, [(one.id, one.claim)])
    store.rescue(server)
    server = store.server()
    assert [store.claim(server, suspect=True)[0].id for _ in range(3)] == [second, third, first]
    store.rescue(server)


def test_a_crash_of_the_process_takes_no_part_of_what_a_job_in_another_may_crash(store: Store) -> None:
    job_id = store.insert(executor="process")
    for _ in range(2 * MAX_CRASHES):
        server = store.server()
        store.claim(server, executor="process")
        store.rescue(server)
    job = store.job(job_id)
    assert (job.state, job.crashes) == (JobState.READY, 2 * MAX_CRASHES)


def test_a_retry_by_hand_clears_a_job(store: Store) -> None:
    job_id = store.insert()
    for crashes in range(MAX_CRASHES):
        store.claim(server := store.server(), suspect=crashes >= SUSPECT_AFTER)
        store.rescue(server)
    assert store.state(job_id) is JobState.DEAD
    store.retry(job_id)
    [again] = store.claim(store.server())
    assert (again.crashes, again.crashes_alone, again.trials) == (0, 0, 0)


def test_a_cancelled_job_of_a_dead_process_is_cancelled_and_not_run_again(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent, "finished")
    store.claim(1)
    store.cancel(parent)
    store.rescue(1)
    assert store.states(parent, child) == [JobState.CANCELLED, JobState.READY]
    assert store.job(parent).delete_at is not None


def test_only_the_dead_processs_jobs_are_taken(store: Store) -> None:
    other = store.server()
    mine, others = store.insert(), store.insert()
    store.claim(1, limit=1)
    store.claim(other, limit=1)
    store.rescue(1)
    assert store.states(mine, others) == [JobState.READY, JobState.RUNNING]


def test_a_second_rescuer_finds_nothing_to_do(store: Store) -> None:
    job_id = store.insert()
    store.claim(1)
    assert len(store.rescue(1)) == 1
    [again] = store.claim(store.server())
    assert store.db.write(servers.rescue, 1, started=None, now=store.now, max_crashes=3, retention=RETENTION) is None
    assert store.job(job_id).server == again.claim
    assert store.state(job_id) is JobState.RUNNING


def test_finished_jobs_of_a_dead_process_stay_finished(store: Store) -> None:
    job_id = store.insert()
    store.run_one(job_id)
    assert store.rescue(1) == []
    assert store.state(job_id) is JobState.SUCCEEDED


def test_a_servers_number_is_never_given_again(store: Store) -> None:
    first = store.server()
    store.rescue(first)
    assert store.server() == first + 1
    store.rescue(first + 1)
    assert store.server() == first + 2


def test_a_process_that_was_given_up_on_learns_it_at_its_next_beat(store: Store, clock: FakeClock) -> None:
    clock.advance(seconds=10)
    assert store.db.write(servers.beat, 1, now=store.now)
    [server] = store.db.read(inspect.servers)
    assert (server.heartbeat_at - server.started_at).total_seconds() == 10
    store.rescue(1)
    assert not store.db.write(servers.beat, 1, now=store.now)
    assert store.db.read(inspect.servers) == []


def test_a_process_sees_the_others_and_not_itself(store: Store) -> None:
    other = store.server(pid=99)
    [row] = store.db.read(servers.others, 1)
    assert (row.id, row.pid, row.hostname, row.host, row.stopping_at) == (other, 99, "box", "here", None)
    store.stop_server(other)
    [row] = store.db.read(servers.others, 1)
    assert row.stopping_at == store.now
    assert [row.id for row in store.db.read(servers.others, other)] == [1]


def test_jobs_claimed_by_an_unregistered_process_return_to_the_queue(store: Store) -> None:
    kept, orphaned = store.insert(), store.insert()
    store.claim(1, limit=1)
    gone = store.server()
    store.claim(gone)
    store.db.write(servers.remove, gone)
    # Who has claimed it may be about to register anew.
    assert store.db.write(servers.rescue_orphans, now=store.now, retention=RETENTION) == 0
    store.clock.advance(seconds=10)
    assert store.db.write(servers.rescue_orphans, now=store.now, retention=RETENTION) == 1
    assert store.states(kept, orphaned) == [JobState.RUNNING, JobState.READY]
    assert (store.job(orphaned).attempt, store.job(orphaned).crashes) == (0, 0)
    assert store.db.write(servers.rescue_orphans, now=store.now, retention=RETENTION) == 0


def reconcile(store: Store, server: int, held: set[tuple[int, int]], formerly: int | None = None) -> object:
    return store.db.write(
        servers.reconcile,
        server,
        formerly=server if formerly is None else formerly,
        held=held,
        now=store.now,
        retention=RETENTION,
    )


def test_a_process_gives_back_what_it_has_claimed_without_knowing_it(store: Store) -> None:
    other = store.server()
    known, unknown, cancelled, others = (store.insert() for _ in range(4))
    claimed = {job.id: job.claim for job in store.claim(1, limit=3)}
    store.claim(other)
    store.cancel(cancelled)
    assert reconcile(store, 1, {(known, claimed[known])}) == ({(known, claimed[known])}, 2)
    assert store.states(known, unknown, cancelled, others) == [
        JobState.RUNNING, JobState.READY, JobState.CANCELLED, JobState.RUNNING,
    ]  # fmt: skip
    job = store.job(unknown)
    assert (job.attempt, job.crashes, store.attempts(unknown)) == (0, 0, [])
    assert reconcile(store, 1, {(known, claimed[known])}) == ({(known, claimed[known])}, 0)


def test_a_process_learns_which_of_its_claims_were_taken_from_it(store: Store) -> None:
    taken, again = store.insert(), store.insert()
    held = {(job.id, job.claim) for job in store.claim(1)}
    store.rescue(1)
    anew = store.server()
    [first, second] = store.claim(anew)
    assert reconcile(store, anew, held | {(second.id, second.claim)}) == ({(second.id, second.claim)}, 1)
    assert store.states(taken, again) == [JobState.READY, JobState.RUNNING]
    assert first.id == taken


def test_claims_under_a_number_that_no_process_has_by_then_stay_the_processs_own(store: Store) -> None:
    job_id = store.insert()
    [claimed] = store.claim(1)
    store.db.write(servers.remove, 1)
    anew = store.server()
    assert reconcile(store, anew, {(job_id, claimed.claim)}, formerly=1) == ({(job_id, claimed.claim)}, 0)
    assert store.rescue(anew) != []


SAID = "process 7 on box was out of reach, and had not died"


def test_what_was_taken_from_a_process_that_lives_is_no_crash(store: Store) -> None:
    server = store.server(pid=7)
    crashed, had_not_begun = store.insert(), store.insert()
    first, second = store.claim(server)
    store.rescue(server, started=[crashed])
    claims_taken = [(first.id, first.claim), (second.id, second.claim)]
    assert store.db.write(servers.forgive, claims_taken, said=SAID, now=store.now) == 1
    assert [store.job(job_id).crashes for job_id in (crashed, had_not_begun)] == [0, 0]
    assert store.states(crashed, had_not_begun) == [JobState.READY] * 2
    [attempt] = store.attempts(crashed)
    assert (attempt.ending, attempt.error) == (Ending.RELEASED, SAID)
    # Said again, as after an answer that was lost, it changes nothing.
    assert store.db.write(servers.forgive, claims_taken, said=SAID, now=store.now) == 0


def test_a_job_that_was_set_aside_for_such_a_crash_goes_back_to_the_queue(store: Store) -> None:
    job_id = store.insert()
    child = store.then(job_id, "success")
    claimed = None
    for crashes in range(MAX_CRASHES):
        server = store.server(pid=7)
        [claimed] = store.claim(server, suspect=crashes >= SUSPECT_AFTER)
        store.rescue(server, started=[job_id])
    assert claimed is not None
    assert store.states(job_id, child) == [JobState.DEAD, JobState.CANCELLED]
    assert store.db.write(servers.forgive, [(job_id, claimed.claim)], said=SAID, now=store.now) == 1
    assert store.states(job_id, child) == [JobState.READY, JobState.AWAITING]


def test_a_process_with_a_newer_heartbeat_is_not_rescued(store: Store, clock: FakeClock) -> None:
    server = store.server()
    job_id = store.insert()
    store.claim(server)
    seen = store.now
    clock.advance(seconds=1)
    store.db.write(servers.beat, server, now=store.now)
    arguments: dict[str, Any] = {"started": None, "now": store.now, "max_crashes": MAX_CRASHES, "retention": RETENTION}
    assert store.db.write(servers.rescue, server, heartbeat_at=seen, **arguments) is None
    assert store.state(job_id) is JobState.RUNNING
    assert store.db.write(servers.rescue, server, heartbeat_at=store.now, **arguments) is not None
    assert store.state(job_id) is JobState.READY
