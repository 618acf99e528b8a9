"""How much of everything: the sizes of a full run, of `--quick`, and so of the smoke test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes. The defaults are those of the published figures.

    Attributes:
        durabilities: "normal", "full" or both. What is defined at one durability is measured at that one.
        rounds: how often a limit and its measure take turns; the medians count.
        drain_jobs, many_jobs, produce_jobs: jobs a round.
        enqueue_rounds, enqueue_slice: one by one takes many short turns, because a disk's flushes come in moods.
        latency_samples: jobs a round, sent one at a time.
        other_samples, other_lone_samples: the same from another process, in all, with short and with long pauses.
        process_jobs: jobs that each of four processes enqueues, a round.
        delayed_jobs: due at random times between `delayed_from` and `delayed_until` seconds ahead.
        idle_seconds: how long the CPU time of an idle process is added up.
        wake_seconds, wakes: how long it idles before it is woken, and how often.
        drain_processes: how many processes drain together, one case after another.
        load_seconds: how long a process is busy while its connections are counted.
        backlogs: how many jobs lie waiting, from the case that the others are compared with to the largest; as many as
            in the largest lie finished in one more.
        backlog_drained: jobs whose cost is measured beside them, a round.
        backlog_enqueued: the same, in each of four turns a round.
        limited_drained: jobs under a limit, and plain ones, a round, beside each of the backlogs.
        growth_seconds, growth_per_second: the steady load.
        dashboards: jobs stored beside a page; the largest case counts, and is compared with the one before.
        dashboard_calls: how often each page is read.
        host_servers, host_cases: which web servers are asked for pages, and in which cases; None for all.
        host_rounds: how often each case is run.
        host_warm_seconds, host_steady_seconds, host_flat_seconds: how long a server is asked before anything counts,
            then steadily, and then as fast as it answers.
    """

    durabilities: tuple[str, ...] = ("normal", "full")
    rounds: int = 5
    drain_jobs: int = 20_000
    enqueue_rounds: int = 40
    enqueue_slice: int = 100
    many_jobs: int = 20_000
    produce_jobs: int = 20_000
    latency_samples: int = 500
    other_samples: int = 500
    other_lone_samples: int = 60
    process_jobs: int = 500
    delayed_jobs: int = 200
    delayed_from: float = 1.0
    delayed_until: float = 3.0
    idle_seconds: float = 20.0
    wake_seconds: float = 10.0
    wakes: int = 3
    drain_processes: tuple[int, ...] = (1, 2, 4)
    load_seconds: float = 4.0
    backlogs: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    backlog_drained: int = 5_000
    backlog_enqueued: int = 250
    limited_drained: int = 5_000
    starts: int = 7
    growth_seconds: float = 60.0
    growth_per_second: int = 1_000
    dashboards: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    dashboard_calls: int = 15
    host_servers: tuple[str, ...] = ("flask", "fastapi")
    host_cases: tuple[str, ...] | None = None
    host_rounds: int = 3
    host_warm_seconds: float = 1.0
    host_steady_seconds: float = 6.0
    host_flat_seconds: float = 2.0


FULL = Scale()
QUICK = Scale(
    rounds=2,
    drain_jobs=4_000,
    enqueue_rounds=10,
    enqueue_slice=50,
    many_jobs=5_000,
    produce_jobs=4_000,
    latency_samples=60,
    other_samples=40,
    other_lone_samples=2,
    process_jobs=100,
    delayed_jobs=50,
    delayed_from=0.2,
    delayed_until=0.7,
    idle_seconds=3.0,
    wake_seconds=0.7,
    wakes=2,
    load_seconds=1.0,
    backlogs=(1_000, 50_000),
    backlog_drained=2_000,
    backlog_enqueued=100,
    limited_drained=1_000,
    starts=2,
    # Pruning looks every ten seconds: two of those are the least that shows anything.
    growth_seconds=21.0,
    growth_per_second=2_000,
    dashboards=(2_000, 10_000, 50_000),
    dashboard_calls=5,
    host_rounds=1,
    host_warm_seconds=0.5,
    host_steady_seconds=1.0,
    host_flat_seconds=0.5,
)
