"""PostgreSQL finds a job by its id, whatever its statistics say.

They are from a quiet moment, as a rule: nothing ran and nothing waited for a parent when the tables were last looked
at, so that the index of such jobs looked like the cheapest way to anything. With a thousand of them it is the dearest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from embedq.storage.postgresql.address import parse
from embedq.storage.postgresql.driver import statements
from embedq.storage.postgresql.session import PLANNING
from tests.databases import KINDS, Home

pytestmark = pytest.mark.skipif("postgresql" not in KINDS, reason="no PostgreSQL here")

BY_ID = (
    "claim_jobs", "succeed_jobs", "succeed_plain", "end_job", "wake_children", "cancel_children", "revive_jobs",
    "cancel_jobs", "request_cancels", "retry_jobs", "jobs_to_change", "job_state", "cancel_requested", "mark_overdue",
    "save_progress", "expired_jobs",
)  # fmt: skip

# Those that read the line of all queues, and another that may look as cheap.
ACROSS = ("survey", "jobs_across", "measure_across")

# Those that read lanes, whose jobs are in the line of their queue too.
LANES = ("lane_level", "visit_lanes", "lane_jobs", "count_ahead", "lane_front")


@pytest.fixture
def connection(home_of: Callable[[str], Home], tmp_path: Path) -> Iterator[tuple[psycopg.Connection, dict[str, str]]]:
    """A connection that plans as embedq's do, and the named statements, on jobs of which none runs or waits."""
    url = home_of("postgresql").fresh(tmp_path)
    address = parse(url)
    options = " ".join(f"-c {name}={value}" for name, value in PLANNING.items())
    with psycopg.connect(address.conninfo, autocommit=True, options=options) as connection:
        jobs = f"{address.quoted_schema}.embedq_jobs"
        connection.execute(
            f"""INSERT INTO {jobs} (state, executor, queue, priority, name, payload, created_at, run_at)
                SELECT 'ready', 'thread', 'default', 0, 'task', '', 1, 1 FROM generate_series(1, 2000)""".encode()
        )
        connection.execute(f"ANALYZE {jobs}".encode())
        yield connection, statements(address.quoted_schema)[0]


def test_a_job_is_found_by_its_id_though_the_index_of_its_state_was_empty(
    connection: tuple[psycopg.Connection, dict[str, str]],
) -> None:
    for name in BY_ID:
        assert indexes_of(connection, name) == {"embedq_jobs_pkey"}, name


@pytest.mark.parametrize("analyzed", ["with jobs", "empty"])
def test_all_queues_are_one_line_to_the_planner_though_their_index_was_empty(
    connection: tuple[psycopg.Connection, dict[str, str]], analyzed: str
) -> None:
    if analyzed == "empty":
        make_empty(connection)
    for name in ACROSS:
        assert "embedq_jobs_across" in indexes_of(connection, name), name


@pytest.mark.parametrize("analyzed", ["with jobs", "empty"])
def test_lanes_are_read_in_their_own_index_though_it_was_empty(
    connection: tuple[psycopg.Connection, dict[str, str]], analyzed: str
) -> None:
    if analyzed == "empty":
        make_empty(connection)
    for name in LANES:
        assert indexes_of(connection, name) == {"embedq_jobs_lanes"}, name


def make_empty(connection: tuple[psycopg.Connection, dict[str, str]]) -> None:
    """Let the statistics be from a moment without any job."""
    server, named = connection
    table = re.findall(r'FROM ("?\w+"?\.embedq_jobs)', named["jobs_across"])[0]
    server.execute(f"TRUNCATE {table}".encode())
    server.execute(f"ANALYZE {table}".encode())


def indexes_of(connection: tuple[psycopg.Connection, dict[str, str]], name: str) -> set[str]:
    """The indexes of jobs that a statement uses."""
    server, named = connection
    parameters = max(map(int, re.findall(r"\$(\d+)", named[name])))
    server.execute(f"PREPARE asked AS {named[name]}".encode())
    plan = server.execute(f"EXPLAIN EXECUTE asked ({', '.join(['NULL'] * parameters)})".encode()).fetchall()
    server.execute("DEALLOCATE asked")
    return set(re.findall(r"using (embedq_jobs\w+)", str(plan)))
