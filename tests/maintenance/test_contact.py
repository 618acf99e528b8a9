"""Until when a process runs its jobs without a word from the server: it ends them before others take them (G3)."""

from __future__ import annotations

import pytest

from embedq.maintenance.contact import Contact, LeaseTiming
from embedq.maintenance.fence import RESPONSE_SECONDS, Fence
from embedq.maintenance.observation import HeartbeatObserver
from embedq.observability.outage import Outage

CADENCE = LeaseTiming.of(30, interrupt_grace=5, remote=True)


@pytest.mark.parametrize("lease", [1, 2, 3, 10, 30, 300])
@pytest.mark.parametrize("interrupt_grace", [0, 0.5, 5, 600])
def test_the_durations_fit_into_the_lease(lease: float, interrupt_grace: float) -> None:
    cadence = LeaseTiming.of(lease, interrupt_grace=interrupt_grace, remote=True)
    # Several heartbeats may be lost, what was interrupted gets its time to yield, and then there is some to kill it.
    assert 3 * cadence.beat < lease - cadence.margin
    assert cadence.beat < cadence.gap < lease - cadence.margin
    assert cadence.grace <= 0.6 * cadence.margin < lease / 2


def test_the_lease_counts_from_sending_the_last_heartbeat_that_was_confirmed() -> None:
    contact = Contact(CADENCE, 0)
    contact.confirmed(100)
    # One that was sent before, and whose answer comes late, takes nothing back.
    contact.confirmed(96)
    deadline = 100 + CADENCE.lease - CADENCE.margin
    assert not contact.lost(deadline - 0.01)
    assert contact.lost(deadline)
    contact.confirmed(120)
    assert not contact.lost(deadline)


def test_runs_end_before_any_other_process_can_take_them() -> None:
    """Whenever it was cut off, and whenever the others look."""
    for cut_off_at in range(40):
        contact, seen = Contact(CADENCE, 0), HeartbeatObserver(lease=CADENCE.lease, gap=CADENCE.gap)
        beats = [beat * CADENCE.beat for beat in range(30)]
        arrived = [beat for beat in beats if beat <= cut_off_at]
        for sent in arrived:
            contact.confirmed(sent)
        taken_at = None
        for look in range(1, 1000):
            at = look * 0.1 * CADENCE.beat
            seen.observe(at, {7: round(1e6 * max(beat for beat in arrived if beat <= at))})
            if seen.unchanged_for_lease(7, round(1e6 * arrived[-1])):
                taken_at = at
                break
        assert taken_at is not None
        assert contact.deadline + CADENCE.margin <= taken_at + 1e-6


def test_a_server_that_refuses_all_connections_is_an_outage_and_no_reason_to_end_jobs() -> None:
    contact = Contact(CADENCE, 0)
    for at in range(5, 3600):
        contact.refused(at)
        assert not contact.lost(at)
    # Then it answers others, perhaps, and not this process.
    contact.unanswered()
    assert not contact.lost(3599 + CADENCE.lease - CADENCE.margin - 0.01)
    assert contact.lost(3599 + CADENCE.lease - CADENCE.margin)


def test_a_refusal_that_others_may_not_have_noticed_does_not_count() -> None:
    contact = Contact(CADENCE, 0)
    contact.refused(1)
    contact.refused(1 + CADENCE.gap)
    contact.unanswered()
    # It begins anew.
    contact.refused(2 + CADENCE.gap)
    contact.refused(3 + CADENCE.gap)
    assert contact.lost(CADENCE.lease - CADENCE.margin)


class Jobs:
    """What a process runs, as the fence knows it."""

    def __init__(self, running: int, waiting: int) -> None:
        self.running, self.waiting = running, waiting
        self.looked_again = 0

    def release_jobs(self, grace: float) -> tuple[int, int]:
        assert grace == CADENCE.grace
        gone = self.waiting, self.running
        self.running = self.waiting = 0
        return gone

    def look_again(self) -> None:
        self.looked_again += 1

    def mark_uncertain(self) -> None:
        raise AssertionError("the heartbeat calls this")

    def stack_of(self, job_id: int) -> None:
        return None


def fence(jobs: Jobs, contact: Contact, asked: list[None]) -> Fence:
    outage = Outage(running=lambda: jobs.running, waiting=lambda: jobs.waiting)
    return Fence(contact, jobs=jobs, beat_now=lambda: asked.append(None), outage=outage)


def step_on(fence: Fence, start: float, end: float) -> None:
    at = start
    while at <= end:
        fence.step(at)
        at += 0.25


def test_what_runs_is_let_go_of_once_contact_is_lost_and_jobs_are_claimed_again_when_it_is_back() -> None:
    jobs, contact = Jobs(running=3, waiting=2), Contact(CADENCE, 0)
    watching = fence(jobs, contact, [])
    deadline = contact.deadline
    step_on(watching, 0, deadline - 0.25)
    assert (watching.closed, jobs.running, jobs.waiting) == (False, 3, 2)
    watching.step(deadline)
    assert (watching.closed, jobs.running, jobs.waiting) == (True, 0, 0)
    # A job that was just beginning is met the next time.
    jobs.running = 1
    watching.step(deadline + 0.25)
    assert (watching.closed, jobs.running, jobs.looked_again) == (True, 0, 0)
    contact.confirmed(deadline)
    watching.step(deadline + 0.5)
    assert (watching.closed, jobs.looked_again) == (False, 1)


def test_a_process_that_was_frozen_checks_first_whether_its_jobs_were_taken() -> None:
    jobs, contact, asked = Jobs(running=3, waiting=0), Contact(CADENCE, 0), list[None]()
    watching = fence(jobs, contact, asked)
    step_on(watching, 0, 2)
    assert asked == []
    watching.step(3600)
    assert (len(asked), jobs.running) == (1, 3)
    contact.confirmed(3600.1)
    step_on(watching, 3600.25, 3610)
    assert (len(asked), jobs.running) == (1, 3)
    # Where nothing answers it does not wait for long.
    step_on(watching, 7200, 7200 + RESPONSE_SECONDS - 0.25)
    assert (len(asked), jobs.running) == (2, 3)
    watching.step(7200 + RESPONSE_SECONDS)
    assert jobs.running == 0


def test_a_process_that_was_frozen_before_the_first_check_is_no_exception() -> None:
    jobs, contact, asked = Jobs(running=1, waiting=0), Contact(CADENCE, 0), list[None]()
    watching = fence(jobs, contact, asked)
    watching.step(3600)
    assert (len(asked), jobs.running) == (1, 1)
    contact.confirmed(3600.1)
    step_on(watching, 3600.25, 3610)
    assert (len(asked), jobs.running) == (1, 1)


def test_a_process_that_wakes_before_others_can_take_its_jobs_checks_only_while_its_runs_can_still_yield_in_time() -> (
    None
):
    jobs, contact = Jobs(running=3, waiting=0), Contact(CADENCE, 0)
    watching = fence(jobs, contact, [])
    watching.step(0)
    last = CADENCE.lease - CADENCE.grace
    step_on(watching, last - 0.5, last - 0.25)
    assert jobs.running == 3
    watching.step(last)
    assert jobs.running == 0
