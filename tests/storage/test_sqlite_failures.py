"""Bad days of a SQLite file: each is a clear error that says what to do, and nothing is lost (promise G9)."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import JobState
from embedq.storage.sqlite import SQLiteDatabase, failures
from embedq.storage.sqlite.migrations import VERSIONS
from tests.support import Child, eventually

NOBODY = 65534


def add(a: int, b: int) -> int:
    return a + b


def queue_at(path: Path, **settings: Any) -> embedq.EmbedQ:
    return embedq.EmbedQ(path, **settings)


def error_of(path: Path, act: Callable[[embedq.EmbedQ], object] = embedq.EmbedQ.connect) -> embedq.StorageError:
    """What using a queue there raises; its message always names the file."""
    app = queue_at(path)
    with pytest.raises(embedq.StorageError) as caught:
        act(app)
    app.close()
    assert path.name in str(caught.value)
    return caught.value


# -- the path ----------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    error = error_of(tmp_path / "nowhere" / "app.db")
    assert isinstance(error, embedq.StorageMissingError)
    assert f"the folder {tmp_path / 'nowhere'} does not exist; create it" in str(error)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "app.db").mkdir()
    error = error_of(tmp_path / "app.db")
    assert isinstance(error, embedq.StorageMissingError)
    assert "is a folder; the URL must name a file in it" in str(error)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = error_of(tmp_path / "file" / "app.db")
    assert isinstance(error, embedq.StorageMissingError)
    assert f"{tmp_path / 'file'} is not a folder" in str(error)


# -- permissions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


def as_ordinary_user(act: Callable[[], object]) -> tuple[str, str]:
    """The class and message of what `act` raises for a user whom permissions bind; ("", "") if it raises nothing."""
    # Imported while it still can be: the ordinary user may not enter the folders of this interpreter.
    import filelock  # noqa: F401
    import sqlite_utils  # noqa: F401

    import embedq.storage.sqlite.migrations  # noqa: F401

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        raised = ("", "")
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            act()
        except BaseException as error:
            raised = (type(error).__name__, str(error))
        os.write(writer, json.dumps(raised).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        name, message = json.load(answer)
    return name, message


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    name, message = as_ordinary_user(lambda: queue_at(open_folder / "app.db").connect())
    assert name == "StorageReadOnlyError"
    assert f"{open_folder / 'app.db'} cannot be opened for writing" in message


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(open_folder: Path) -> None:
    path = open_folder / "app.db"
    with queue_at(path).connect() as app:
        app.enqueue(add, 1, 2).wait(timeout=10)
    app.close()
    for file in open_folder.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    open_folder.chmod(0o555)

    def use() -> None:
        queue_at(path).connect().enqueue(add, 1, 2)

    name, message = as_ordinary_user(use)
    assert name == "StorageReadOnlyError"
    assert f"{path} cannot be " in message
    assert "Make the file and its folder writable" in message or "check its mode" in message


# -- damage ------------------------------------------------------------------------------------------------------------


def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    text = b"this is a letter, not a database\n" * 100
    path.write_bytes(text)
    error = error_of(path)
    assert isinstance(error, embedq.StorageCorruptError)
    assert "is not a usable SQLite database" in str(error)
    assert "restore a backup" in str(error)
    assert path.read_bytes() == text


def test_a_file_that_is_damaged_in_the_middle_is_an_error_when_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    app = queue_at(path).connect()
    app.enqueue_many([app.call(add, n, 2) for n in range(2000)])
    app.close()
    content = bytearray(path.read_bytes())
    # Not the header nor the schema: it opens, and then a page of the jobs is noise.
    content[4096 * 30 : -4096] = os.urandom(len(content) - 4096 * 31)
    path.write_bytes(content)
    error = error_of(path, lambda damaged: damaged.connect().jobs(limit=2000))
    assert isinstance(error, embedq.StorageCorruptError)
    assert ".recover" in str(error)


# -- versions and disks ------------------------------------------------------------------------------------------------


def test_a_schema_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    queue_at(path).connect().close()
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO _sqlite_migrations VALUES (?, ?, ?, ?)", (99, "embedq", "schema_0042", "2030-01-01")
    )
    connection.commit()
    before = connection.execute("SELECT group_concat(sql) FROM sqlite_master").fetchone()
    error = error_of(path)
    assert isinstance(error, embedq.SchemaTooNewError)
    assert "newer embedq: it has schema_0042" in str(error)
    assert "Upgrade embedq" in str(error)
    assert connection.execute("SELECT group_concat(sql) FROM sqlite_master").fetchone() == before
    connection.close()


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
filer:/export /mnt/my\\040files nfs4 rw 0 0
//nas/share /mnt/my\\040files/local ext4 rw 0 0
host /mnt/sshfs fuse.sshfs rw 0 0
tmpfs /mnt/sshfs/over tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/app.db", "ext4"),
        ("/mnt/my files/app.db", "nfs4"),
        ("/mnt/my files/local/app.db", "ext4"),
        ("/mnt/sshfs/a/b/app.db", "fuse.sshfs"),
        ("/mnt/sshfs/over/app.db", "tmpfs"),
        ("/mnt/sshfsx/app.db", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert failures.filesystem_of(Path(path), MOUNTS) == kind


def test_a_network_file_system_is_refused_with_a_way_out(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("filer:/export / nfs4 rw 0 0\n")
    with pytest.raises(embedq.NetworkFilesystemError, match=r"network file system \(nfs4\)") as caught:
        failures.refuse_network_filesystem(tmp_path / "app.db", mounts)
    assert "Put it on a local disk" in str(caught.value)
    assert "allow_network_filesystem=True" in str(caught.value)
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n")
    failures.refuse_network_filesystem(tmp_path / "app.db", mounts)


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_lock_that_is_never_freed_is_an_error_after_the_time_set(tmp_path: Path) -> None:
    app = queue_at(tmp_path / "app.db", busy_timeout=0.2).connect()
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(embedq.StorageBusyError, match=r"stayed locked for 0\.2 s") as caught:
        app.enqueue(add, 1, 2)
    assert "Nothing was written" in str(caught.value)
    other.execute("ROLLBACK")
    other.close()
    assert app.enqueue(add, 1, 2).id == 1
    app.close()


def test_a_lock_that_is_freed_in_time_is_only_waited_for(tmp_path: Path) -> None:
    app = queue_at(tmp_path / "app.db").connect()
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    release.start()
    assert app.enqueue(add, 1, 2).state is JobState.READY
    release.join()
    other.close()
    app.close()


def test_what_ends_while_the_file_is_locked_beyond_every_timeout_is_recorded_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    app = queue_at(tmp_path / "app.db", busy_timeout=0.05).connect()

    @app.job(name="wait for it")
    def wait_for_it(n: int) -> int:
        gate.wait(30)
        return n

    app.start()
    running = [wait_for_it.enqueue(n) for n in range(5)]
    eventually(lambda: app.stats().counts[JobState.RUNNING] == 5)
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    gate.set()
    runtime = app.engine.runtime
    assert runtime is not None
    eventually(
        lambda: "the database is busy; running jobs continue" in caplog.text and runtime.dispatcher.outcomes.unwritten
    )
    # Reading goes on all the while.
    assert [job.state for job in running] == [JobState.RUNNING] * 5
    other.execute("ROLLBACK")
    other.close()
    assert [job.result(20) for job in running] == list(range(5))
    assert [len(job.attempts()) for job in running] == [1] * 5
    # Told when it begins and when it is over, by however many threads and tries it was met.
    eventually(lambda: caplog.text.count("the database can be used again") == 1)
    assert caplog.text.count("the database is busy") == 1
    app.close()


# -- no room -----------------------------------------------------------------------------------------------------------


def leave_no_room(app: embedq.EmbedQ) -> Callable[[], object]:
    """Fill the database to a limit that SQLite enforces as it does a full disk's; returns what lifts it."""
    database = app.database
    assert isinstance(database, SQLiteDatabase)
    writer = database._writer
    assert writer is not None
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: writer.execute("PRAGMA max_page_count = 1000000")


def test_with_no_room_left_an_enqueue_is_refused_and_what_was_stored_stays(tmp_path: Path) -> None:
    app = queue_at(tmp_path / "app.db").connect()
    first = app.enqueue(add, 1, 2)
    make_room = leave_no_room(app)
    with pytest.raises(embedq.StorageFullError, match="no space left") as caught:
        app.enqueue_many([app.call(add, n, 2) for n in range(5000)])
    assert "Free space" in str(caught.value)
    assert app.count_jobs() == 1
    assert first.state is JobState.READY
    make_room()
    assert len(app.enqueue_many([app.call(add, n, 2) for n in range(5000)])) == 5000
    app.close()


def test_jobs_that_end_while_there_is_no_room_are_recorded_when_there_is(tmp_path: Path) -> None:
    gate, begun = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        gate.wait(30)
        return "x" * 500_000

    app = queue_at(tmp_path / "app.db")
    app.job(name="work")(work)
    app.start()
    try:
        job = app.enqueue(app.engine.registry.get("work") or work)
        assert begun.wait(10)
        make_room = leave_no_room(app)
        gate.set()
        # The outcome does not fit: it is kept, and tried again.
        eventually(lambda: app.engine.runtime and app.engine.runtime.dispatcher.busy)
        with pytest.raises(embedq.WaitTimeoutError):
            job.wait(timeout=0.5)
        assert job.state is JobState.RUNNING
        make_room()
        assert job.result(timeout=20) == "x" * 500_000
        assert len(job.attempts()) == 1
    finally:
        app.close()


def test_a_disk_that_fails_at_a_write_is_named_and_nothing_is_half_done(tmp_path: Path) -> None:
    output = Child(
        """
        import resource, sys
        import embedq

        app = embedq.EmbedQ("sqlite:///app.db").connect()
        kept = app.enqueue(print, 1)
        # No file may grow beyond this: the kernel refuses the write, as a broken disk or a quota does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        try:
            app.enqueue_many([app.call(print, n) for n in range(20_000)])
        except embedq.StorageError as error:
            print(type(error).__name__, "app.db" in str(error), "SQLite reports" in str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(app.count_jobs(), kept.state, len(app.enqueue_many([app.call(print, n) for n in range(20_000)])))
        app.close()
        """,
        cwd=tmp_path,
    ).finish()
    error, count = output.splitlines()
    assert error in ("StorageUnavailableError True True", "StorageFullError True True")
    assert count == "1 ready 20000"


# -- many at once ------------------------------------------------------------------------------------------------------


def test_eight_processes_that_find_no_schema_make_it_once(tmp_path: Path) -> None:
    script = """
        import sys
        import embedq

        app = embedq.EmbedQ("sqlite:///app.db")
        print("ready")
        sys.stdin.readline()
        print(len(app.migrate()))
        print(app.connect().enqueue(print, 1).id)
        app.close()
        """
    children = [Child(script, cwd=tmp_path) for _ in range(8)]
    assert [child.read_line() for child in children] == ["ready"] * 8
    lines = [child.finish(stdin="\n").split() for child in children]
    assert sorted(applied for applied, _ in lines) == ["0"] * 7 + [str(len(VERSIONS))]
    assert sorted(int(job) for _, job in lines) == list(range(1, 9))
    connection = sqlite3.connect(tmp_path / "app.db")
    assert connection.execute("SELECT count(*) FROM _sqlite_migrations").fetchone() == (len(VERSIONS),)
    connection.close()


def test_a_snapshot_that_an_exception_left_open_stops_no_later_read(tmp_path: Path) -> None:
    app = embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db").connect()
    database = app.database
    assert isinstance(database, SQLiteDatabase)
    assert app.stats()
    # As an exception of a signal handler does it, or one that another thread raises here, just after the BEGIN.
    for reader in database._connections.idle_readers:
        reader.execute("BEGIN")
    assert app.enqueue(int, 1).state is embedq.JobState.READY
    app.close()
