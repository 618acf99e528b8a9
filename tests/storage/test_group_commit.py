"""Many threads, one transaction: who gets which result, who fails, and who is left waiting (nobody)."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from embedq.errors import StorageBusyError, StorageError
from embedq.storage import group_commit, inspect, jobs
from embedq.storage.base import Database, Transaction
from embedq.storage.group_commit import GroupCommit, Member
from embedq.storage.reentry import ReentryGuard
from embedq.storage.sqlite import SQLiteDatabase
from tests.conformance.store import Store
from tests.databases import Home, SQLiteHome
from tests.support import Child, FakeClock, eventually

T = TypeVar("T")


class Recorder:
    """Runs groups as a database would, and remembers who was in each."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.before_each: Callable[[Member], None] = lambda member: None

    def __call__(self, group: list[Member]) -> None:
        self.groups.append(len(group))
        self.entered.set()
        assert self.go_on.wait(10)
        for member in group:
            self.before_each(member)
            try:
                member.result = member.body()
            except Exception as error:
                member.error = error
            member.done = True


def spawn(function: Callable[..., T], *args: Any) -> Future[T]:
    """Call it in a thread that a failing test need not wait for."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def queue_behind_a_leader(
    commits: GroupCommit, recorder: Recorder, bodies: Sequence[Callable[..., Any]]
) -> tuple[Future[Any], list[Future[Any]]]:
    """Write the bodies while a leader is in the middle of its own write, until `recorder.go_on` is set."""
    leader = spawn(commits.write, lambda: "leader")
    assert recorder.entered.wait(10)
    futures = []
    for number, body in enumerate(bodies, start=1):
        futures.append(spawn(commits.write, body))
        eventually(lambda number=number: len(commits._queue) == number)
    return leader, futures


def test_a_thread_that_finds_no_write_under_way_writes_at_once_and_alone() -> None:
    recorder = Recorder()
    recorder.go_on.set()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    assert [commits.write(partial(int, n)) for n in range(3)] == [0, 1, 2]
    assert recorder.groups == [1, 1, 1]


def test_threads_that_arrive_meanwhile_share_the_next_transaction_and_each_gets_its_own_result() -> None:
    recorder = Recorder()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    leader, futures = queue_behind_a_leader(commits, recorder, [lambda n=n: n for n in range(20)])
    recorder.go_on.set()
    assert leader.result(10) == "leader"
    assert [future.result(10) for future in futures] == list(range(20))
    assert recorder.groups == [1, 20]


def test_a_group_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GROUP_LIMIT", 4)
    recorder = Recorder()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    _, futures = queue_behind_a_leader(commits, recorder, [lambda n=n: n for n in range(10)])
    recorder.go_on.set()
    assert [future.result(10) for future in futures] == list(range(10))
    assert recorder.groups == [1, 4, 4, 2]


def test_a_write_that_must_be_alone_is_alone_and_in_its_turn() -> None:
    recorder = Recorder()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    seen: list[int] = []
    spawn(commits.write, lambda: None)
    assert recorder.entered.wait(10)
    waiting = []
    for number, action in enumerate((commits.write, commits.alone, commits.write), start=1):
        waiting.append(spawn(action, lambda number=number: seen.append(number)))
        eventually(lambda number=number: len(commits._queue) == number)
    recorder.go_on.set()
    for future in waiting:
        future.result(10)
    assert seen == [1, 2, 3]
    assert recorder.groups == [1, 1, 1]


class Interrupted(BaseException):
    """What a signal handler may raise, like KeyboardInterrupt."""


def interrupt_at(place: Callable[[], bool]) -> Callable[[Member], None]:
    """A step before each member that raises once, when `place` says so."""
    done = False

    def before(member: Member) -> None:
        nonlocal done
        if not done and place():
            done = True
            raise Interrupted

    return before


@contextmanager
def interrupted_when(condition: Callable[[], bool]) -> Iterator[None]:
    """In the main thread: a signal handler raises `Interrupted` as soon as the condition holds; it is swallowed."""

    def raise_in_main(*_: object) -> None:
        raise Interrupted

    def send() -> None:
        eventually(condition)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, raise_in_main)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupted_leader_leaves_the_others_to_the_next_one() -> None:
    recorder = Recorder()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    recorder.before_each = interrupt_at(lambda: True)
    leader, futures = queue_behind_a_leader(commits, recorder, [lambda n=n: n for n in range(5)])
    recorder.go_on.set()
    with pytest.raises(Interrupted):
        leader.result(10)
    assert [future.result(10) for future in futures] == list(range(5))
    assert commits.write(lambda: "free") == "free"


def test_a_leader_that_is_interrupted_between_two_members_neither_loses_nor_repeats_one() -> None:
    recorder = Recorder()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    ran: list[int] = []
    recorder.before_each = interrupt_at(lambda: len(ran) == 3)
    bodies = [lambda n=n: ran.append(n) for n in range(6)]
    _, futures = queue_behind_a_leader(commits, recorder, bodies)
    recorder.go_on.set()
    errors = [future.exception(10) for future in futures]
    # Its own write was done before the interruption, so it ran too.
    assert [type(error) for error in errors if error is not None] == [Interrupted]
    assert sorted(ran) == list(range(6))
    assert commits.write(lambda: "free") == "free"


def test_a_waiter_that_is_interrupted_leaves_the_queue_and_its_write_undone() -> None:
    recorder = Recorder()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    ran: list[str] = []
    leader, _ = queue_behind_a_leader(commits, recorder, [])
    with interrupted_when(lambda: len(commits._queue) == 1):
        commits.write(lambda: ran.append("interrupted"))
    other = spawn(commits.write, lambda: ran.append("other"))
    recorder.go_on.set()
    leader.result(10)
    other.result(10)
    assert ran == ["other"]


def test_a_waiter_that_left_is_not_made_a_leader_when_its_own_is_interrupted_as_well() -> None:
    """The worst of luck: it was taken into a group, went away, and the group came back into the queue."""
    recorder = Recorder()
    commits = GroupCommit(recorder, ReentryGuard("the database"))
    second_group = threading.Event()
    go_on = threading.Event()

    def interrupt_the_second_group(member: Member) -> None:
        if len(recorder.groups) == 2 and not go_on.is_set():
            second_group.set()
            assert go_on.wait(10)
            raise Interrupted

    recorder.before_each = interrupt_the_second_group
    first, [second] = queue_behind_a_leader(commits, recorder, [lambda: None])

    def in_the_second_group() -> bool:
        if len(commits._queue) == 2:
            recorder.go_on.set()
        return second_group.is_set()

    with interrupted_when(in_the_second_group):
        commits.write(lambda: None)
    go_on.set()
    first.result(10)
    assert isinstance(second.exception(10), Interrupted)
    assert spawn(commits.write, lambda: "free").result(10) == "free"


# -- on a database -----------------------------------------------------------------------------------------------------


@pytest.fixture
def home() -> Home:
    """A file, whose one lock a stranger can hold."""
    return SQLiteHome()


@pytest.fixture
def store(db: Database, clock: FakeClock) -> Store:
    return Store(db, clock)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection holds the write lock."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_every_thread_gets_the_id_of_its_own_job(store: Store) -> None:
    def insert(thread: int) -> list[tuple[int, str]]:
        names = [f"{thread}-{n}" for n in range(40)]
        return [(store.insert(name=name), name) for name in names]

    threads = [spawn(insert, thread) for thread in range(16)]
    inserted = [pair for thread in threads for pair in thread.result(30)]
    assert len({job_id for job_id, _ in inserted}) == 16 * 40
    stored = {job.id: job.name for job in store.db.read(inspect.jobs, limit=1000)}
    assert stored == dict(inserted)


def test_writes_that_fail_fail_alone_with_their_own_error_and_leave_nothing(db: Database, store: Store) -> None:
    assert isinstance(db, SQLiteDatabase)

    def good(name: str) -> int:
        return store.insert(name=name)

    def raises_after_writing(name: str) -> None:
        def body(tx: Transaction) -> None:
            jobs.insert(tx, store.draft(name=name))
            raise RuntimeError(name)

        db.write(body)

    def refused_by_the_schema(name: str) -> None:
        store.insert(name=name, priority="high")

    kinds = [good, raises_after_writing, good, refused_by_the_schema] * 6
    with locked(db.path):
        futures = [spawn(kind, str(number)) for number, kind in enumerate(kinds)]
        eventually(lambda: len(db._commits._queue) == len(kinds) - 1)
    errors = [future.exception(20) for future in futures]
    for number, (kind, error) in enumerate(zip(kinds, errors, strict=True)):
        if kind is good:
            assert error is None
        elif kind is raises_after_writing:
            assert isinstance(error, RuntimeError)
            assert str(error) == str(number)
        else:
            assert isinstance(error, StorageError)
    stored = {job.name for job in db.read(inspect.jobs, limit=1000)}
    assert stored == {str(number) for number, kind in enumerate(kinds) if kind is good}


def test_a_lock_that_is_not_freed_fails_a_whole_group_at_once_and_not_one_after_the_other(tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path / "jobs.db", busy_timeout=0.5)
    database.migrate()
    store = Store(database, FakeClock())
    with locked(database.path):
        futures = [spawn(store.insert) for _ in range(30)]
        # The first alone and then the others together: about a second, where one by one it would be fifteen.
        errors = [future.exception(8) for future in futures]
    assert {type(error) for error in errors} == {StorageBusyError}
    assert store.db.read(inspect.count_jobs, cap=10) == 0
    assert store.insert() == 1
    database.close()


def test_ctrl_c_anywhere_in_a_write_neither_hangs_nor_harms_another_thread(tmp_path: Path) -> None:
    output = Child(
        """
        import random, signal, sys, threading, time
        import embedq

        app = embedq.EmbedQ(sys.argv[1], durability="normal").connect()
        acknowledged = []
        armed = False

        @app.job(name="work")
        def work(n): ...

        def enqueue(thread):
            for n in range(200):
                acknowledged.append(app.enqueue(work, thread).id)

        def interrupt(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt

        def pester():
            while pestering:
                time.sleep(random.random() * 0.003)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        signal.signal(signal.SIGINT, interrupt)
        pestering, interruptions = True, 0
        threads = [threading.Thread(target=enqueue, args=(t,)) for t in (1, 2, 3)]
        pest = threading.Thread(target=pester)
        for thread in (*threads, pest):
            thread.start()
        while interruptions < 100 or any(thread.is_alive() for thread in threads):
            try:
                armed = True
                handle = app.enqueue(work, 0)
                armed = False
                acknowledged.append(handle.id)
            except KeyboardInterrupt:
                interruptions += 1
        pestering = False
        pest.join()
        stored = app.jobs(limit=1_000_000)
        assert len(set(acknowledged)) == len(acknowledged)
        assert {job.id for job in stored} >= set(acknowledged)
        # What was interrupted may have been written all the same; it was not acknowledged. Nobody else's was repeated.
        assert len(stored) <= len(acknowledged) + interruptions
        assert sum(job.arguments != "[[0],{}]" for job in stored) == 600
        print("fine")
        """,
        f"sqlite:///{tmp_path}/jobs.db",
    ).finish(30)
    assert output == "fine\n"
