"""Trouble with the database is told when it begins, now and then, and when it is over, whoever meets it."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from embedq import StorageBusyError, StorageError, StorageFullError, StorageReadOnlyError, StorageUnavailableError
from embedq.observability.outage import Outage
from tests.support import ROOT


class Trouble:
    """An outage with a clock of its own, and what it says."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 100.0
        self.running, self.waiting = 3, 0
        self._caplog = caplog
        self.outage = Outage(running=lambda: self.running, waiting=lambda: self.waiting, clock=lambda: self.now)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def trouble(caplog: pytest.LogCaptureFixture) -> Iterator[Trouble]:
    with caplog.at_level(logging.INFO, "embedq"):
        yield Trouble(caplog)


AWAY = StorageUnavailableError("the server is away")


def test_an_outage_of_many_threads_is_two_lines(trouble: Trouble) -> None:
    for _ in range(10):
        trouble.now += 1
        trouble.outage.failed("dispatcher", AWAY)
        trouble.outage.failed("heartbeat", AWAY)
        trouble.waiting = 4
    assert len(trouble.lines) == 1
    assert "running jobs continue" in trouble.lines[0]
    assert "the server is away" in trouble.lines[0]
    trouble.now += 1
    trouble.outage.worked("heartbeat")
    assert len(trouble.lines) == 1
    trouble.outage.worked("dispatcher")
    assert trouble.lines[1:] == [
        "the database can be used again, after 10 s: of 3 jobs that ran when it began none was interrupted, and "
        "4 outcomes that waited can be written"
    ]
    trouble.outage.worked("dispatcher")
    assert len(trouble.lines) == 2


def test_a_long_outage_is_reported_less_and_less_often(trouble: Trouble) -> None:
    for _ in range(3600):
        trouble.outage.failed("dispatcher", AWAY)
        trouble.now += 1
    assert 5 < len(trouble.lines) < 15
    assert "the database cannot be used for 15 s now; 3 jobs running" in trouble.lines[1]
    assert "for 48 min 0 s now" in trouble.lines[-1] or " min " in trouble.lines[-1]


def test_released_runs_are_reported_at_the_end(trouble: Trouble) -> None:
    trouble.outage.failed("heartbeat", AWAY)
    trouble.outage.interrupted(2)
    trouble.outage.worked("heartbeat")
    assert "of 3 jobs that ran when it began 2 went back to the queue" in trouble.lines[-1]
    # The next one counts anew.
    trouble.outage.failed("heartbeat", AWAY)
    trouble.outage.worked("heartbeat")
    assert "none was interrupted" in trouble.lines[-1]


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (StorageFullError("x"), "has no room left"),
        (StorageReadOnlyError("x"), "takes no writes"),
        (StorageBusyError("x"), "is busy"),
        (StorageUnavailableError("x"), "cannot be used"),
    ],
)
def test_the_kind_of_trouble_is_named(trouble: Trouble, error: StorageError, what: str) -> None:
    trouble.outage.failed("dispatcher", error)
    assert trouble.lines[0].startswith(f"the database {what};")


SPEAKS = """
    import logging, sys
    from embedq.observability.log import get_logger
    exec(sys.argv[1])
    get_logger().warning("the database is away")
"""


@pytest.mark.parametrize(
    ("set_up", "printed"),
    [
        ("", "embedq: the database is away\n"),
        ("logging.basicConfig(format='%(levelname)s %(message)s')", "WARNING the database is away\n"),
        ("logging.getLogger('embedq').addHandler(logging.NullHandler())", ""),
        ("logging.getLogger('embedq').setLevel(logging.ERROR)", ""),
    ],
)
def test_a_line_carries_the_name_where_no_logging_is_set_up_and_is_the_applications_where_it_is(
    set_up: str, printed: str
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SPEAKS), set_up]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stderr == printed
