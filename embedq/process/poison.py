"""Poison jobs: which job killed its process? Pure decisions; storage/servers.py writes them, worker/quarantine.py
carries them out.

When a process dies, all its running jobs crash, and one of them may be the cause, or none. So a crash among others only
makes suspects. A suspect runs apart, as a *trial*: nothing else starts beside it for a while. Only a crash in which no
other job ran at any time of the run counts towards `max_crashes`.

A poison job that kills late survives its trial. Each trial that it survives makes the next one twice as long, so that
in the end it crashes in one. The suspect with the highest score is tried next:

    crashes among others - trials survived - crashes alone

A poison job is in every crash, and survives no more trials once these are long enough: its score grows until it comes
first, in a process in which nothing else runs yet. The score of an innocent job does not grow: when it comes first it
survives a trial. (In SQL: `suspect_jobs`. `crashes` counts both kinds, so it subtracts the crashes alone twice.)

When a process is killed from outside during the trial of a suspect, that is a crash alone. Such kills hit one suspect
after the other, since each lowers a score; a poison job crashes again and again, and the others survive. So while two
jobs have crashed alone, each needs twice `max_crashes`.
"""

from __future__ import annotations

from collections.abc import Mapping

# A job whose process died this often while it ran is a suspect. The schema's indexes contain the same number.
SUSPECT_AFTER = 2
FIRST_TRIAL_SECONDS = 10.0
# A job that kills its process later than this, beside others that run longer, never crashes alone.
LONGEST_TRIAL_SECONDS = 900.0


def trial_seconds(trials: int) -> float:
    """Return how long nothing else starts beside a suspect that has survived `trials` trials."""
    return min(LONGEST_TRIAL_SECONDS, FIRST_TRIAL_SECONDS * 2.0 ** min(trials, 16))


def is_poison(*, crashes_alone: int, max_crashes: int, others_died_alone: bool) -> bool:
    """Return whether a job has killed its process so often that it is dead.

    Args:
        crashes_alone: crashes in which no other job ran in the process, the latest included.
        others_died_alone: another job that has not ended had such a crash too.
    """
    return crashes_alone >= max_crashes * (2 if others_died_alone else 1)


def jobs_that_ran_alone(started: Mapping[int, float], ended: float) -> frozenset[int]:
    """Return the jobs of a dead process that ran alone from their start: one, or none.

    Args:
        started: for each job that was running, when it had started.
        ended: when the last job that had ended did so, on the same clock; 0.0 if none had.
    """
    return frozenset(started if len(started) == 1 and min(started.values()) >= ended else ())
