"""What the figures should reach, by name. A figure that has none is only told."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.report import Mark, at_most, ratio_at_least, ratio_at_most

SQLITE: Mapping[str, Mark] = {
    "drain": ratio_at_least(0.25),
    "enqueue": ratio_at_least(0.5),
    "enqueue-threads": ratio_at_least(1.5),
    "enqueue-many": ratio_at_least(0.25),
    "produce": ratio_at_least(0.12),
    "latency p50": ratio_at_most(2),
    "latency p99": ratio_at_most(4),
    "latency-other-process p99": at_most(30),
    "enqueue-processes p99": at_most(10),
    "enqueue-processes worst": at_most(250),
    "delayed p50": at_most(1.5),
    "delayed p99": at_most(4),
    "idle": at_most(0.3),
    "memory": at_most(25),
    "wake": ratio_at_most(2),
    "backlog": ratio_at_most(1.25),
    "import": at_most(100),
    "start": at_most(50),
    "growth": ratio_at_most(1.25),
    "dashboard": at_most(100),
    "dashboard open": at_most(1),
}

POSTGRESQL: Mapping[str, Mark] = {
    "drain": ratio_at_least(0.4),
    "drain-processes": ratio_at_least(1),
    "enqueue": ratio_at_least(0.6),
    "enqueue-threads": ratio_at_least(1.5),
    "latency p50": ratio_at_most(2),
    "latency-other-process p99": at_most(10),
    "connections": at_most(4),
    "backlog": ratio_at_most(1.25),
    "dashboard": at_most(100),
    "dashboard open": at_most(1),
}

MYSQL: Mapping[str, Mark] = {}
