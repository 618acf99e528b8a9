"""A type that tests/worker/process_jobs.py does not import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    item: str
