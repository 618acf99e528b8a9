"""What the log says of a process that is gone is what its jobs were doing, whatever becomes of them."""

from __future__ import annotations

import pytest

from embedq import Ending, JobState
from embedq.maintenance.membership import rescued_jobs
from embedq.storage.rows import Outcome


def outcome(job_id: int, state: JobState = JobState.READY, ending: Ending = Ending.RELEASED) -> Outcome:
    return Outcome(
        job_id=job_id, claim=1, attempt=1, name="words:job", queue="default", state=state, ending=ending,
        run_at=0, started_at=0, finished_at=1, server_id=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "started", "words"),
    [
        ([], {}, "it held no jobs"),
        # It was stopping, so that no crash is counted, and was killed with these running.
        (
            [outcome(1), outcome(2), outcome(3)],
            {1: False, 2: False},
            "2 of its jobs were running, 1 more was claimed; 3 go back to the queue",
        ),
        ([outcome(1)], {1: True}, "1 of its jobs was running; 1 goes back to the queue"),
        (
            [outcome(1), outcome(2, JobState.DEAD, Ending.CRASHED), outcome(3, JobState.CANCELLED, Ending.CRASHED)],
            {1: False, 2: False, 3: False},
            "3 of its jobs were running; 1 goes back to the queue, 1 is set aside as dead, 1 is cancelled",
        ),
        ([outcome(1)], {}, "0 of its jobs were running, 1 more was claimed; 1 goes back to the queue"),
        # On another host: its notes cannot be seen.
        (
            [outcome(1), outcome(2)],
            None,
            "it held 2 jobs, and which of them were running is not known; 2 go back to the queue",
        ),
    ],
)
def test_the_words_for_a_process_that_is_gone(
    outcomes: list[Outcome], started: dict[int, bool] | None, words: str
) -> None:
    assert rescued_jobs(outcomes, started) == words
