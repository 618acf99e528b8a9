"""`embedq copy` between any two kinds of database: all arrives, nothing twice, and nothing under anybody's feet."""

from __future__ import annotations

import importlib
import json
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedq import EmbedQ, JobState
from embedq.cli import main
from embedq.errors import CopyError
from embedq.flow.holds import HoldKind
from embedq.flow.limits import Limit, Rate
from embedq.flow.unique import Unique
from embedq.operations.copy import DatabaseCopy
from embedq.storage import actions, copying, firing, holds, inspect, jobs, permits, schedules, servers
from embedq.storage.actions import NewAction
from embedq.storage.columns import COPIED
from embedq.storage.firing import Planned
from embedq.storage.schedules import Turn
from tests.conformance.store import RETENTION, Store
from tests.databases import KINDS, Home, open_database
from tests.support import Child, FakeClock, cli_runner

PAIRS = [(source, target) for source in KINDS for target in KINDS]
# Each kind once as the source and once as the target.
RING = list(zip(KINDS, [*KINDS[1:], KINDS[0]], strict=True))
# Without the connection that counted, which SQLite does not have.
COLUMNS = {table: " ".join(name for name in columns if name != "backend") for table, columns in COPIED.items()}
# Every column of a row has a value of its own: one that lands in another column is seen.
FULL = (
    "UPDATE embedq_jobs SET priority = -3, code = 'c', options = '{}', parent_id = 1, schedule = 's', expires_at = 21, "
    "first_started_at = 22, started_at = 23, finished_at = 24, delete_at = 25, attempt = 26, claim = 27, crashes = 28, "
    "server_id = 29, cancel_requested_at = 30, overdue_at = 31, needs = 'n', error = 'e', result = 'r', "
    "progress = 0.375, progress_note = 'p' WHERE id = "
)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def copy(source: str, target: str, *options: str) -> Said:
    command = ["copy", source, target, "--lease", "1", *options]
    result = cli_runner().invoke(main, command, env={"EMBEDQ_URL": None})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return Said(result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True)
class House:
    """A database, and what is in it past embedq."""

    home: Home
    url: str
    store: Store

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table that is copied."""
        return {table: self.table(table, columns.split()) for table, columns in COLUMNS.items()}

    def table(self, name: str, columns: list[str]) -> list[tuple[Any, ...]]:
        # With their table's name: one of them is a keyword somewhere.
        named = ", ".join(f"embedq_{name}.{column}" for column in columns)
        return sorted(self.home.execute(self.url, f"SELECT {named} FROM embedq_{name}"), key=repr)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return self.home.execute(self.url, sql)


@pytest.fixture
def house(home_of: Callable[[str], Home], tmp_path: Path, clock: FakeClock) -> Iterator[Callable[[str, str], House]]:
    """Makes an empty database of a kind."""
    made: list[House] = []

    def make(kind: str, name: str) -> House:
        home = home_of(kind)
        url = home.fresh(tmp_path, name)
        made.append(House(home, url, Store(open_database(url), clock)))
        return made[-1]

    yield make
    for one in made:
        one.store.db.close()


@pytest.fixture(params=PAIRS, ids="-to-".join)
def ends(request: pytest.FixtureRequest, house: Callable[[str, str], House]) -> tuple[House, House]:
    """A source that has something in every table and state, and an empty target."""
    return furnished(house, *request.param)


@pytest.fixture(params=RING, ids="-to-".join)
def ring(request: pytest.FixtureRequest, house: Callable[[str, str], House]) -> tuple[House, House]:
    """The same, of fewer pairs."""
    return furnished(house, *request.param)


def furnished(house: Callable[[str, str], House], source: str, target: str) -> tuple[House, House]:
    ends = house(source, "copied"), house(target, "target")
    furnish(ends[0].store)
    ends[0].execute(FULL + "2")
    return ends


@pytest.fixture(params=KINDS)
def onto(request: pytest.FixtureRequest, house: Callable[[str, str], House]) -> tuple[House, House]:
    """A small source in a file, and an empty target of each kind."""
    ends = house("sqlite", "copied"), house(request.param, "target")
    ends[0].store.insert_many([ends[0].store.draft(payload=f"[[{number}],{{}}]") for number in range(5)])
    return ends


@pytest.fixture
def move() -> Iterator[Callable[[House, House], DatabaseCopy]]:
    """Makes a copy that is taken step by step."""
    apps: list[EmbedQ] = []

    def make(source: House, target: House) -> DatabaseCopy:
        apps.extend(EmbedQ(house.url).connect() for house in (source, target))
        return DatabaseCopy(*(app.engine for app in apps[-2:]))

    yield make
    for app in apps:
        app.close()


def furnish(store: Store) -> None:
    """Something of everything."""
    assert store.server() == 1
    ended = store.insert(idempotency_key="first of all", tags='["a", "日本"]', queue="mail")
    dead = store.insert(queue="mail", name="tests:\U0001f600")
    failing, parked, stopped = store.insert(), store.insert(), store.insert()
    for job_id, ending in (
        (ended, lambda job: store.succeeded(job, result="[1]")),
        (failing, lambda job: store.failed(job, wait=10_000)),
        (parked, lambda job: store.parked(job, "task tests:elsewhere")),
        (dead, store.died),
        (stopped, store.cancelled),
    ):
        store.run_one(job_id, ending)
        store.clock.advance(seconds=61)
    store.db.write(jobs.add_logs, [(dead, store.now, 1, "first\nline"), (ended, store.now, 1, "")])
    store.insert(delay=3600, expires_in=60)
    waiting = store.insert(idempotency_key="waits", priority=5)
    store.then(waiting)
    store.put_schedule("pulse")
    store.put_schedule("paused one", template='{"code":null}')
    store.db.write(schedules.pause, "paused one", now=store.now)

    store.clock.advance(seconds=61)

    schedule = store.db.read(schedules.load, "pulse")
    turn = Turn(fires=[schedule.next_fire_at], passed=[], next_fire_at=schedule.next_fire_at + 60_000_000)
    planned = Planned(schedule, turn, [store.draft(schedule=schedule.name)])
    store.db.write(firing.fire, [planned], now=store.now, retention=RETENTION)
    store.db.write(lambda tx: tx.run("revive_later", (f"[{waiting}]",)))
    wanted = NewAction(actor="ada", verb="retry", subject="dead", process="box:1", details={}, search={"ids": [dead]})
    store.db.write(actions.begin, wanted, now=store.now)
    store.db.write(holds.put, HoldKind.QUEUE, "paused", until=None, reason="😀", actor="ada", now=store.now)
    store.db.write(permits.declare, {"openai": Limit(5, rate=Rate(60, per=60)).values()}, now=store.now)
    store.db.write(permits.set_values, "openai", total=3, each=None, now=store.now)
    store.insert(options=Unique("unfinished").rule("tests:job [1]").stored_in(None))


# -- everything --------------------------------------------------------------------------------------------------------


def test_everything_arrives_as_it_was(ends: tuple[House, House]) -> None:
    source, target = ends
    before = source.rows()
    assert all(before.values())
    said = copy(source.url, target.url, "--json")
    assert (said.code, said.json["was_complete"], said.json["replaced"]) == (0, False, 0), said.err
    assert target.rows() == source.rows() == before
    assert said.json["rows"] == {table: len(rows) for table, rows in before.items()}
    assert sum(said.json["jobs"].values()) == len(before["jobs"])
    assert set(said.json["jobs"]) == {*JobState} - {"running"}


def test_the_target_runs_its_jobs_during_a_copy(ring: tuple[House, House]) -> None:
    source, target = ring
    [(last,)] = source.execute("SELECT max(id) FROM embedq_jobs")
    assert copy(source.url, target.url).code == 0
    store = target.store
    assert store.server() > 29, "a row tells of process 29"
    new = store.insert()
    assert new > last
    assert store.insert(idempotency_key="waits") < new, "the key still belongs to the job that was copied"
    store.db.write(jobs.add_logs, [(new, store.now, 1, "a line")])
    [waiting] = [job for job in store.db.read(inspect.jobs) if job.idempotency_key == "waits"]
    [claimed] = [job for job in store.claim(store.server()) if job.id == waiting.id]
    store.finish(store.succeeded(claimed))
    [child] = store.children(waiting.id)
    store.settle()
    assert store.state(child) is JobState.READY
    assert copy(source.url, target.url).code == 1


def test_a_copy_that_is_complete_reports_it_again(ring: tuple[House, House]) -> None:
    source, target = ring
    assert copy(source.url, target.url).code == 0
    again = copy(source.url, target.url)
    assert again.code == 0
    assert "was already complete" in again.err
    assert "jobs" in again.out


def test_totals_that_several_connections_counted_are_the_same_totals(ring: tuple[House, House]) -> None:
    source, target = ring
    total = (
        "SELECT minute, name, sum(jobs), sum(ran_us) FROM embedq_counters GROUP BY minute, name ORDER BY minute, name"
    )
    other = Store(open_database(source.url), source.store.clock)
    job = other.insert()
    other.run_one(job)
    other.db.close()
    assert copy(source.url, target.url).code == 0
    assert target.execute(total) == source.execute(total)


# -- in the middle -----------------------------------------------------------------------------------------------------


def test_killed_in_the_middle_it_continues_where_it_was(ring: tuple[House, House]) -> None:
    source, target = ring
    script = """
        import os, signal, sys
        from embedq import EmbedQ
        from embedq.operations import copy
        from embedq.storage import copying

        copy.FIRST_PAGE = copy.LARGEST_PAGE = 2
        store = copying.store

        def kill_at_the_fourth(tx, table, rows, *, at, replaced):
            after = store(tx, table, rows, at=at, replaced=replaced)
            if at.batches == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return after

        copying.store = kill_at_the_fourth
        source, target = (EmbedQ(url, lease=1).connect().engine for url in sys.argv[1:])
        move = copy.DatabaseCopy(source, target)
        move.prepare()
        move.run()
        """
    child = Child(script, source.url, target.url)
    assert child.process.wait(timeout=30) == -signal.SIGKILL
    child._close()
    [(batches,)] = target.execute("SELECT batches FROM embedq_copies")
    assert batches == 3
    assert 0 < len(target.rows()["jobs"]) < len(source.rows()["jobs"])
    said = copy(source.url, target.url, "--json")
    assert (said.code, said.json["resumed"]) == (0, True), said.err
    assert target.rows() == source.rows()
    assert target.execute("SELECT source FROM embedq_copies") == []


def test_interrupted_it_states_how_to_continue(onto: tuple[House, House], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = onto
    run = DatabaseCopy.run

    def interrupted(move: DatabaseCopy, progress: object) -> None:
        def stop(rows: int) -> None:
            raise KeyboardInterrupt

        run(move, stop)

    monkeypatch.setattr("embedq.operations.copy.FIRST_PAGE", 2)
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseCopy, "run", interrupted)
        said = copy(source.url, target.url)
    assert (said.code, said.out) == (130, "")
    assert "run the same command to continue" in said.err
    assert len(target.rows()["jobs"]) == 2
    said = copy(source.url, target.url)
    assert said.code == 0
    assert "continuing an earlier copy: 3 rows left" in said.err
    assert target.rows() == source.rows()


def test_of_two_that_copy_at_once_one_gives_way(
    onto: tuple[House, House], move: Callable[[House, House], DatabaseCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = onto
    monkeypatch.setattr("embedq.operations.copy.FIRST_PAGE", 2)
    first, second = move(source, target), move(source, target)
    first.prepare()
    second.prepare()
    first.run()
    with pytest.raises(CopyError, match="another process is continuing this copy"):
        second.run()
    first.verify()
    assert target.rows() == source.rows()


def test_a_page_of_long_rows_has_fewer_of_them(
    onto: tuple[House, House], move: Callable[[House, House], DatabaseCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = onto
    monkeypatch.setattr("embedq.operations.copy.FIRST_PAGE", 2)
    monkeypatch.setattr("embedq.operations.copy.PAGE_CHARACTERS", 10_000)
    short = source.store.draft()
    source.store.insert_many([short.with_payload("x" * 6000)] * 12)
    pages: list[int] = []
    moved = move(source, target)
    moved.prepare()
    moved.run(pages.append)
    moved.verify()
    assert pages == [2, 4, 6, 1, 1, 1, 1, 1]


# -- refused -----------------------------------------------------------------------------------------------------------


def test_workers_on_either_side_are_refused(onto: tuple[House, House]) -> None:
    for busy in onto:
        with EmbedQ(busy.url, workers=1).start():
            said = copy(onto[0].url, onto[1].url)
        assert said.code == 1
        assert f": process {os.getpid()} on " in said.err
        assert "stop every process" in said.err
    assert copy(onto[0].url, onto[1].url).code == 0


def test_a_worker_on_another_host_is_watched_for_a_lease_and_is_alive_if_its_heartbeat_moves(
    onto: tuple[House, House],
) -> None:
    source, target = onto
    # Its heartbeat is months old: nothing may have been written since.
    server = source.store.server(pid=77)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            source.store.clock.advance(seconds=1)
            source.store.db.write(servers.beat, server, now=source.store.now)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        assert ": process 77 on box" in copy(source.url, target.url).err
    finally:
        stop.set()
        heart.join()
    said = copy(source.url, target.url)
    assert said.code == 0
    assert "waiting to see whether process 77 on box is alive" in said.err


def test_what_dead_processes_were_running_goes_back_to_the_queue_first(onto: tuple[House, House]) -> None:
    source, target = onto
    store = source.store
    [stuck] = store.claim(store.server(), limit=1)
    orphan = store.insert()
    store.run_one(orphan, store.failed)
    said = copy(source.url, target.url, "--json")
    assert (said.code, said.json["rescued"]) == (0, 1)
    assert target.store.state(stuck.id) is JobState.READY
    [attempt] = target.store.attempts(stuck.id)
    assert "died while it ran this job" in str(attempt.error)
    assert source.execute("SELECT id FROM embedq_servers") == []


def test_a_target_in_use_is_refused_and_left_alone(onto: tuple[House, House]) -> None:
    source, target = onto
    target.store.insert()
    before = target.rows()
    for options in ([], ["--anew"]):
        said = copy(source.url, target.url, *options)
        assert (said.code, said.out) == (1, "")
    assert "already in use, with 1 jobs" in copy(source.url, target.url).err
    assert target.rows() == before


def test_a_database_is_not_copied_into_itself(home: Home, tmp_path: Path) -> None:
    url = home.fresh(tmp_path)
    said = copy(url, url)
    assert said.code == 2
    assert "the same database" in said.err


def test_a_source_that_is_not_there_creates_no_target(tmp_path: Path) -> None:
    said = copy(f"sqlite:///{tmp_path}/none.db", f"sqlite:///{tmp_path}/new.db")
    assert said.code == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_of_an_older_version_is_brought_up_to_date_by_hand(
    kind: str, home_of: Callable[[str], Home], tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = home_of(kind).missing(tmp_path, "older")
    migrations = importlib.import_module(f"embedq.storage.{kind}.migrations")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "VERSIONS", migrations.VERSIONS[:1])
        open_database(url).migrate()
    store = Store(open_database(url), clock)
    job = store.insert()
    target = f"sqlite:///{tmp_path}/target.db"
    said = copy(url, target)
    assert said.code == 4
    assert "schema_0002" in said.err
    assert "embedq migrate" in said.err
    assert store.db.migrate() == list(migrations.VERSIONS[1:])
    store.db.close()
    assert copy(url, target).code == 0
    moved = EmbedQ(target).connect()
    assert [found.id for found in moved.jobs()] == [job]
    moved.close()


def test_a_source_of_a_newer_version_is_refused(onto: tuple[House, House]) -> None:
    source, target = onto
    source.execute("UPDATE _sqlite_migrations SET name = 'schema_9999' WHERE name = 'schema_0002'")
    said = copy(source.url, target.url)
    assert said.code == 4
    assert "newer embedq" in said.err


def test_a_source_that_was_used_meanwhile_is_not_called_complete(
    onto: tuple[House, House], move: Callable[[House, House], DatabaseCopy]
) -> None:
    source, target = onto
    moved = move(source, target)
    moved.prepare()
    source.store.cancel(1)
    moved.run()
    with pytest.raises(CopyError, match="was written to during the copy"):
        moved.verify()
    assert "out of date" in copy(source.url, target.url).err
    assert copy(source.url, target.url, "--anew").code == 0
    assert target.rows() == source.rows()


def test_a_target_that_was_used_meanwhile_is_not_called_complete(
    onto: tuple[House, House], move: Callable[[House, House], DatabaseCopy]
) -> None:
    source, target = onto
    moved = move(source, target)
    moved.prepare()
    moved.run()
    target.store.insert()
    with pytest.raises(CopyError, match="6 jobs instead of 5"):
        moved.verify()
    assert copy(source.url, target.url).code == 1
    assert copy(source.url, target.url, "--anew").code == 0
    assert target.rows() == source.rows()


def test_jobs_do_not_run_where_only_a_part_of_them_has_arrived(
    onto: tuple[House, House], move: Callable[[House, House], DatabaseCopy]
) -> None:
    source, target = onto
    move(source, target).prepare()
    app = EmbedQ(target.url, sigterm=False)
    with pytest.raises(CopyError, match=r"only a part of .*copied\.db"):
        app.start()
    app.close()
    assert copy(source.url, target.url).code == 0


def test_the_unfinished_copy_of_another_database_is_refused(
    onto: tuple[House, House], move: Callable[[House, House], DatabaseCopy], house: Callable[[str, str], House]
) -> None:
    source, target = onto
    move(source, target).prepare()
    said = copy(house("sqlite", "third").url, target.url)
    assert said.code == 1
    assert "unfinished copy of another database" in said.err
    assert "copied.db" in said.err


def test_a_row_that_the_target_refuses_is_named_and_those_before_it_are_kept(
    onto: tuple[House, House], move: Callable[[House, House], DatabaseCopy]
) -> None:
    source, target = onto
    moved = move(source, target)
    moved.prepare()
    target.store.db.write(jobs.insert, target.store.draft())
    target.execute("UPDATE embedq_jobs SET id = 4")
    with pytest.raises(CopyError, match="jobs 4 cannot be written"):
        moved.run()
    assert [row[0] for row in target.table("jobs", ["id"])] == [1, 2, 3, 4]
    target.execute("DELETE FROM embedq_jobs WHERE id = 4")
    assert copy(source.url, target.url).code == 0
    assert target.rows() == source.rows()


def test_numbers_that_were_damaged_keep_nothing_from_being_copied(onto: tuple[House, House]) -> None:
    source, target = onto
    source.execute(f"UPDATE embedq_jobs SET claim = {2**63 - 1}")
    said = copy(source.url, target.url, "--json")
    assert (said.code, said.json["rows"]["jobs"]) == (0, 5), said.err
    assert {row for (row,) in target.execute("SELECT claim FROM embedq_jobs")} == {2**63 - 1}


# -- what is not alike everywhere --------------------------------------------------------------------------------------


def test_a_character_that_the_target_cannot_store_is_reported(onto: tuple[House, House]) -> None:
    source, target = onto
    store = source.store
    assert store.server() == 1
    store.run_one(1, lambda job: store.died(job, "ValueError: a\x00b"))
    ended = store.insert(queue="old\x00one")
    store.cancel(ended)
    holds = target.store.db.read(copying.holds_nul)
    said = copy(source.url, target.url, "--json")
    # The job, its attempt, the job that has ended, and what was counted of it.
    assert (said.code, said.json["replaced"]) == (0, 0 if holds else 3)
    error, queue = ("ValueError: a\x00b", "old\x00one") if holds else ("ValueError: a�b", "old�one")
    assert target.store.job(1).error == error
    assert target.store.job(ended).queue == queue
    if not holds:
        assert "3 rows had a NUL character" in said.err


def test_what_still_runs_is_not_given_another_name(onto: tuple[House, House]) -> None:
    source, target = onto
    job = source.store.insert(queue="new\x00one")
    source.store.put_schedule("pul\x00se")
    said = copy(source.url, target.url)
    if target.store.db.read(copying.holds_nul):
        assert said.code == 0
        assert target.rows() == source.rows()
    else:
        assert said.code == 1
        assert f"job {job} (queue)" in said.err
        assert "schedule 'pul" in said.err
        assert not any(target.rows().values())


def test_the_key_of_functions_that_are_not_registered_goes_along(onto: tuple[House, House]) -> None:
    source, target = onto
    app = EmbedQ(source.url).connect()
    job = app.enqueue(lambda: 42)
    app.close()
    key = Path(source.url.removeprefix("sqlite:///") + ".embedq") / "key"
    said = copy(source.url, target.url)
    assert said.code == 0
    copied = Path(target.url.removeprefix("sqlite:///") + ".embedq") / "key"
    if copied.parent.is_dir():
        assert str(copied) in said.err
        assert stat.S_IMODE(copied.stat().st_mode) == 0o600
        secret = None
    else:
        assert f"EMBEDQ_SECRET_KEY in every process to the content of {key}" in said.err
        secret = key.read_text()
    with EmbedQ(target.url, secret_key=secret, workers=1).start() as app:
        assert app.job(job.id).result(timeout=20) == 42


def test_a_key_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("source", "target")]
    apps = [EmbedQ(url).connect() for url in urls]
    keys = [app.engine.key.id for app in apps]
    apps[0].enqueue(lambda: 42)
    for app in apps:
        app.close()
    said = copy(*urls)
    assert said.code == 0
    assert "with a different key than that in" in said.err
    assert EmbedQ(urls[1]).engine.key.id == keys[1] != keys[0]


def test_copy_takes_two_urls(tmp_path: Path) -> None:
    result = cli_runner().invoke(
        main, ["--url", f"sqlite:///{tmp_path}/a.db", "copy", "sqlite:///b.db", "sqlite:///c.db"]
    )
    assert result.exit_code == 2
    assert "not --url" in result.stderr


def test_a_name_that_the_target_finds_too_long_is_named(onto: tuple[House, House]) -> None:
    source, target = onto
    job = source.store.insert(queue="q" * 300)
    said = copy(source.url, target.url)
    if said.code:
        assert f"jobs {job} cannot be written" in said.err
        source.store.cancel(job)
    assert len(target.rows()["jobs"]) == 6 - said.code
