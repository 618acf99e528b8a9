"""A disk with no room left, for real: a small file system of its own, filled to the last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from embedq import JobState, StorageFullError
from tests.support import Child, eventually


class SmallDisk:
    """A file system of two megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave room for nothing."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (65536, 512, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    yield SmallDisk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


let_go = threading.Event()
begun = threading.Event()


def work(n: int) -> str:
    begun.set()
    let_go.wait(30)
    return f"{n}" * 2000


def test_nothing_is_lost_while_there_is_no_room(disk: SmallDisk, caplog: pytest.LogCaptureFixture) -> None:
    let_go.clear()
    begun.clear()
    app = embedq.EmbedQ(f"sqlite:///{disk.path}/app.db", workers=4, stop_timeout=5)
    app.job(name="work")(work)
    task = app.engine.registry.get("work")
    assert task is not None
    app.start()
    running = [app.enqueue(task, n) for n in range(4)]
    assert begun.wait(10)
    eventually(lambda: all(handle.state is JobState.RUNNING for handle in running))
    waiting = app.enqueue(task, 9)

    disk.fill()
    calls = [app.call(task, n) for n in range(5000)]
    with pytest.raises(StorageFullError, match=r"no space left for .*app\.db; nothing was written\. Free space"):
        app.enqueue_many(calls)
    let_go.set()
    runtime = app.engine.runtime
    assert runtime is not None
    # Their outcomes cannot be written; they are kept, and tried again and again.
    eventually(lambda: len(runtime.dispatcher.outcomes.unwritten) == 4)
    assert [handle.state for handle in running] == [JobState.RUNNING] * 4
    assert "the database has no room left; running jobs continue" in caplog.text

    disk.make_room()
    assert [handle.result(20) for handle in running] == [f"{n}" * 2000 for n in range(4)]
    assert waiting.result(20) == "9" * 2000
    assert [len(handle.attempts()) for handle in running] == [1] * 4
    assert app.enqueue(task, 1).result(20)
    eventually(lambda: "outcomes that waited can be written" in caplog.text)
    assert app.stop()
    app.close()


def test_a_start_with_no_room_reports_it_and_starts_nothing(disk: SmallDisk) -> None:
    app = embedq.EmbedQ(f"sqlite:///{disk.path}/app.db").connect()
    disk.fill()
    threads = set(threading.enumerate())
    with pytest.raises(StorageFullError, match=r"[Ff]ree space on that disk"):
        app.start()
    assert not app.started
    assert set(threading.enumerate()) <= threads
    disk.make_room()
    app.start()
    assert app.enqueue(len, "abc").result(10) == 3
    app.close()


def test_a_first_start_with_no_room_reports_it_and_leaves_nothing_broken(disk: SmallDisk) -> None:
    disk.fill()
    app = embedq.EmbedQ(f"sqlite:///{disk.path}/app.db")
    with pytest.raises(StorageFullError, match=r"app\.db.*[Ff]ree space"):
        app.start()
    disk.make_room()
    app.start()
    assert app.enqueue(len, "abc").result(10) == 3
    app.close()


def test_a_disk_that_fills_up_before_the_start_never_kills_the_process(disk: SmallDisk) -> None:
    """The notes of running jobs are mapped into memory: a page without room behind it would be a SIGBUS."""
    output = Child(
        """
        import sqlite3, sys
        import embedq

        path = sys.argv[1]
        app = embedq.EmbedQ(f"sqlite:///{path}/app.db").connect()
        handles = [app.enqueue(len, "abc") for _ in range(40)]
        # The write-ahead log has room that is used again, so that the process can still register.
        sqlite3.connect(f"{path}/app.db").execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        with open(f"{path}/ballast", "wb", buffering=0) as file:
            try:
                while file.write(bytes(512)) == 512:
                    pass
            except OSError:
                pass
        try:
            app.start()
            print("started")
        except embedq.StorageFullError as error:
            print("refused" if "no room left" in str(error) else error)
        """,
        disk.path,
    ).finish()
    assert output == "refused\n"
