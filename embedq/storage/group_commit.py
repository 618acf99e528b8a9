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
    """One write that waits for its turn. `run_group` fills in `result` or `error`, and `done`.

    Attributes:
        alone: it shares no group, and runs in no transaction.
        leads: it holds the leadership, and must hand it over.
    """

    __slots__ = ("_gate", "alone", "body", "done", "error", "leads", "result")

    def __init__(self, body: Body, *, alone: bool = False) -> None:
        self.body = body
        self.alone = alone
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.leads = False
        self._gate: threading.Lock | None = None

    def prepare_to_wait(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Until it is done, or it must lead."""
        assert self._gate is not None
        self._gate.acquire()

    def signal(self) -> None:
        if self._gate is not None:
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
        self._group: list[Member] = []

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
        try:
            with self._mutex:
                if self._writing:
                    member.prepare_to_wait()
                    self._queue.append(member)
                else:
                    member.leads = True
                    self._writing = True
            if not member.leads:
                member.wait()
            if member.leads:
                self._lead(member)
        finally:
            # However it ended. A signal handler may have raised anywhere above (Ctrl-C, SIGTERM in the main thread),
            # and nobody must be left waiting for a leader that is gone.
            if member.leads or not member.done:
                self._hand_over(member)
        return member.outcome()

    def _lead(self, member: Member) -> None:
        group = self._group = [member]
        # Looked at first without the lock: who comes a moment later joins the next group.
        if self._queue:
            with self._mutex:
                while not member.alone and self._queue and len(group) < GROUP_LIMIT and not self._queue[0].alone:
                    group.append(self._queue.popleft())
        if member.alone:
            member.result = member.body()
            member.done = True
        else:
            self._run_group(group)

    def _hand_over(self, member: Member) -> None:
        """Give the leadership to the next in the queue; or, for one that only waited, leave the queue."""
        with self._mutex:
            if not member.leads:
                if member in self._queue:
                    self._queue.remove(member)
                # In a group that runs just now, and may come back into the queue: nobody waits for it any more.
                member.done = True
                return
            group, self._group = self._group, []
            member.leads = False
            others = [other for other in group if other is not member] if len(group) > 1 else []
            if others:
                self._queue.extendleft(reversed([other for other in others if not other.done]))
            successor = self._queue.popleft() if self._queue else None
            self._writing = successor is not None
            if successor is not None:
                successor.leads = True
        for other in others:
            if other.done:
                other.signal()
        if successor is not None:
            successor.signal()
