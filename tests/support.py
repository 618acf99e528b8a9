"""What several test files need: clocks, databases, child processes, waiting."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from embedq.clock import SECOND
from embedq.tasks.registry import REGISTRY

ROOT = Path(__file__).parent.parent
# 2026-06-01T12:00:00Z
START = 1_780_315_200 * SECOND


class FakeClock:
    """A wall clock that stands still until it is advanced; the monotonic one goes with it."""

    def __init__(self, now: int = START) -> None:
        self.micros = now
        self._monotonic = 0.0

    def now(self) -> int:
        return self.micros

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        total = seconds + 60 * minutes + 3600 * hours + 86400 * days
        self.micros += round(total * SECOND)
        self._monotonic += max(0.0, total)


@contextmanager
def resume_registry() -> Iterator[None]:
    """Whatever is registered inside is forgotten afterwards."""
    before = dict(REGISTRY._by_name)
    yield
    REGISTRY._by_name.clear()
    REGISTRY._by_name.update(before)


def eventually(condition: Callable[..., object], *, seconds: float = 10.0, message: str = "") -> None:
    """Wait until the condition holds; fail if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message or f"not within {seconds} s: {condition}")
        time.sleep(0.01)


class Child:
    """A Python process that runs a script; its output is one text at the end.

    Args:
        script: source code; dedented.
        arguments: its sys.argv[1:].
    """

    def __init__(self, script: str, *arguments: object, cwd: Path | None = None) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        environment.pop("EMBEDQ_URL", None)
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment,
        )

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def finish(self, timeout: float = 60, *, stdin: str = "") -> str:
        """Tell it `stdin`, wait for its end; its standard output. Fails with its errors if it did not end with 0."""
        try:
            output, errors = self.process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            # faulthandler writes the stacks of all threads.
            self.process.send_signal(signal.SIGABRT)
            output, errors = self.process.communicate()
            raise AssertionError(f"not ended within {timeout} s\n{output}\n{errors}") from None
        assert self.process.returncode == 0, f"exit code {self.process.returncode}\n{output}\n{errors}"
        return output

    def read_line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def cli_runner() -> CliRunner:
    """Return a runner that keeps stderr apart from stdout, which click before 8.2 does only on request."""
    options: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**options)
