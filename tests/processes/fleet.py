"""Starts, signals and ends the processes of a test."""

from __future__ import annotations

import json
import math
import os
import random
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedq import EmbedQ, StorageBusyError
from embedq.job import ENDED
from embedq.storage.base import Transaction
from tests.databases import Home, open_database
from tests.processes import journal
from tests.processes.journal import FOLDER_VARIABLE, Span
from tests.support import ROOT, eventually

# How often the tests of flow control kill a process.
KILLS = int(os.environ.get("EMBEDQ_TEST_CHAOS_KILLS", "4"))


class Program:
    """A Python process that runs one function of `programs.py`.

    It ends when its standard input is closed, so it never outlives the test run.
    """

    def __init__(
        self, name: str, arguments: dict[str, Any], folder: Path, number: int, environment: Mapping[str, str]
    ) -> None:
        environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT), FOLDER_VARIABLE: str(folder / "journal")}
        environment.pop("EMBEDQ_URL", None)
        self._errors = folder / f"{number}-{name}.stderr"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "tests.processes", name, json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=environment,
            )
        self._pending = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def errors(self) -> str:
        """What it has written to standard error."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def write_line(self, line: str = "") -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def read_line(self, *, seconds: float = 60) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise AssertionError(f"no line within {seconds} s\n{self.errors}")
                read = os.read(self.process.stdout.fileno(), 65536)
                if not read:
                    raise AssertionError(f"it ended with {self.process.wait()}, without a line\n{self.errors}")
                self._pending += read
        line, self._pending = self._pending.split(b"\n", 1)
        return line.decode()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def hang(self, url: str) -> None:
        """Stop it at a moment when it holds no lock of the database: there, everybody would wait for it."""
        while True:
            self.send(signal.SIGSTOP)
            if nobody_holds_anything(url):
                return
            self.send(signal.SIGCONT)
            time.sleep(0.05)

    def end(self, *, seconds: float = 60) -> int:
        """Close its standard input, and wait for its exit status."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 60) -> int:
        """Wait for its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            # faulthandler writes the stacks of all threads.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"it did not end within {seconds} s\n{self.errors}") from None

    def close(self) -> None:
        if self.alive:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except BrokenPipeError:
                pass


def nobody_holds_anything(url: str) -> bool:
    """Whether the rows that are written all the time can be locked."""

    def lock(tx: Transaction) -> None:
        for server in tx.all("other_servers", (0,)):
            tx.one("server_by_id", (server[0],))
        tx.one("schedule", ("tick",))

    database = open_database(url, busy_timeout=0.5)
    try:
        database.write(lock)
    except StorageBusyError:
        return False
    finally:
        database.close()
    return True


def all_ended(queue: EmbedQ) -> bool:
    """Whether every job has. All states at one moment: one that goes from one to another is in neither in turn."""
    return not any(count for state, count in queue.stats().counts.items() if state not in ENDED)


class Fleet:
    """The processes of one test, and what they did.

    Attributes:
        killed: when each process was killed, taken just before the signal: whatever it ran was still allowed to run.
    """

    def __init__(self, folder: Path, home: Home) -> None:
        self.folder = folder
        self.home = home
        self.journal = folder / "journal"
        self.journal.mkdir()
        self.url = home.missing(folder, "fleet")
        self.killed: dict[int, float] = {}
        self._programs: list[Program] = []

    @property
    def locks(self) -> Path:
        """Where the processes keep their lock files."""
        database = open_database(self.url)
        try:
            return database.folder / "servers"
        finally:
            database.close()

    def start(self, name: str, *, environment: Mapping[str, str] | None = None, **arguments: Any) -> Program:
        """Start a program on the fleet's database."""
        program = Program(name, {"url": self.url, **arguments}, self.folder, len(self._programs), environment or {})
        self._programs.append(program)
        return program

    def worker(self, **arguments: Any) -> Program:
        """Start the program `work`, and wait until it runs jobs."""
        program = self.start("work", **arguments)
        assert program.read_line() == "ready"
        return program

    def workers(self, count: int, **arguments: Any) -> list[Program]:
        """Start several at once."""
        programs = [self.start("work", **arguments) for _ in range(count)]
        for program in programs:
            assert program.read_line() == "ready"
        return programs

    def kill(self, program: Program) -> float:
        """kill -9; returns when."""
        now = self.killed[program.pid] = time.monotonic()
        program.process.kill()
        program.process.wait()
        return now

    def kill_busy(self, programs: Sequence[Program], dice: random.Random) -> Program:
        """kill -9 one of those that run a job, at a random moment; return it."""

        def busy() -> list[Program]:
            pids = {run.pid for runs in self.runs().values() for run in runs if run.ended_at == math.inf}
            return [program for program in programs if program.pid in pids]

        eventually(busy, seconds=60, message="no process runs anything")
        time.sleep(dice.uniform(0, 0.1))
        chosen = dice.choice(busy() or programs)
        assert chosen.alive, f"it died by itself\n{chosen.errors}"
        self.kill(chosen)
        return chosen

    def runs(self) -> dict[int, list[Span]]:
        """The runs of each job so far."""
        return journal.runs(self.journal, self.killed)

    def runs_of(self, job_id: int) -> list[Span]:
        """The runs of one job so far."""
        return self.runs().get(job_id, [])

    def events(self, event: str) -> list[dict[str, Any]]:
        """The journal's lines about one kind of event."""
        return [line for line in journal.read(self.journal) if line["event"] == event]

    def errors(self) -> str:
        """What all programs have written to standard error."""
        return "\n".join(program.errors for program in self._programs)

    def close(self) -> None:
        for program in self._programs:
            program.close()
