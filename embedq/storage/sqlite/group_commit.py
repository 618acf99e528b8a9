"""Writes that arrive while a transaction is running join the next one.

A thread that finds nobody writing leads at once, alone: no hand-over, no added wait. Threads that come meanwhile queue;
when the leader is done the first of them leads the next group and commits for all that queued. So one thread pays what
a plain loop pays, and eight threads share a disk flush. (The write group of RocksDB has the same shape.)

A failing write in a group fails alone: the group is rolled back and its members run again one by one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from embedq.interrupts import this_thread

GROUP_LIMIT = 256

Body = Callable[[], Any]
RunGroup = Callable[[list["Member"]], None]


class Member:
    """One write that waits for its turn. `run_group` fills in `result` or `error`."""

    __slots__ = ("_gate", "alone", "body", "done", "error", "result")

    def __init__(self, body: Body, *, alone: bool = False) -> None:
        self.body = body
        self.alone = alone
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self._gate: threading.Lock | None = None

    def prepare_to_wait(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Until it is done, or it must lead."""
        assert self._gate is not None
        self._gate.acquire()

    def signal(self) -> None:
        assert self._gate is not None
        self._gate.release()

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class GroupCommit:
    """Lets one thread at a time write, for itself and for those who queued.

    Args:
        run_group: runs the members' bodies in one transaction and commits, and sets each one's `result` or `error` and
            `done`. Only ever called by one thread at a time.
    """

    def __init__(self, run_group: RunGroup) -> None:
        self._run_group = run_group
        self._mutex = threading.Lock()
        self._writing = False
        self._queue: deque[Member] = deque()

    def write(self, body: Body) -> Any:
        """Run `body` in a transaction and return what it returned, once that is durable."""
        interruptible = this_thread()
        if interruptible is None:
            return self._write(Member(body))
        interruptible.enter_shield()
        try:
            return self._write(Member(body))
        finally:
            interruptible.leave_shield()

    def alone(self, body: Body) -> Any:
        """Run `body` while nobody writes, in no transaction: to close the connection, for example."""
        return self._write(Member(body, alone=True))

    def _write(self, member: Member) -> Any:
        with self._mutex:
            leads = not self._writing
            if leads:
                self._writing = True
            else:
                member.prepare_to_wait()
                self._queue.append(member)
        if not leads:
            member.wait()
            if member.done:
                return member.outcome()
        self._lead(member)
        return member.outcome()

    def _lead(self, member: Member) -> None:
        group = [member]
        with self._mutex:
            while not member.alone and self._queue and len(group) < GROUP_LIMIT and not self._queue[0].alone:
                group.append(self._queue.popleft())
        try:
            if member.alone:
                member.result = member.body()
                member.done = True
            else:
                self._run_group(group)
        finally:
            # Also when a signal handler raised in the middle (Ctrl-C): nobody waits for a leader that is gone.
            self._hand_over(group)

    def _hand_over(self, group: list[Member]) -> None:
        with self._mutex:
            for member in reversed(group[1:]):
                if not member.done:
                    self._queue.appendleft(member)
            successor = self._queue.popleft() if self._queue else None
            self._writing = successor is not None
        for member in group[1:]:
            if member.done:
                member.signal()
        if successor is not None:
            successor.signal()
