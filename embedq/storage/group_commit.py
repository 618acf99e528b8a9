"""Writes that arrive while a transaction is running join the next one.

A thread that finds no write in progress leads at once, alone: no hand-over, no added wait. Threads that arrive
meanwhile queue; when the leader is done the first of them leads the next group and commits for all that queued. So one
thread costs what a plain loop costs, and eight threads share a disk flush. (The write group of RocksDB has the same
shape.)

A failing write in a group fails alone: the group is rolled back and its members run again one by one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile
from typing import Any

from embedq.process.interrupts import this_thread
from embedq.storage.reentry import ReentryGuard

GROUP_LIMIT = 256

Body = Callable[[], Any]
RunGroup = Callable[[list["Member"]], None]


class Member:
    """One write that waits for its turn. `run_group` fills in `result` or `error`, and `done`.

    Attributes:
        alone: it shares no group, and runs in no transaction.
        bare: it needs no transaction around it when it is the only one in its group.
        place: where it may stand among others, for `run_group`.
        group: those it leads, itself first; empty until it does.
    """

    __slots__ = ("_gate", "alone", "bare", "body", "done", "error", "group", "place", "result")

    def __init__(self, body: Body, *, alone: bool = False, bare: bool = False, place: object = None) -> None:
        self.body = body
        self.alone = alone
        self.bare = bare
        self.place = place
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.group: list[Member] = []
        self._gate: threading.Lock | None = None

    def prepare_to_wait(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Until it is done, or it must lead."""
        assert self._gate is not None
        self._gate.acquire()

    def signal(self) -> None:
        """Let the waiting thread continue. A second call has no effect: it waits only once."""
        if self._gate is not None and self._gate.locked():
            try:
                self._gate.release()
            except RuntimeError:
                pass  # another thread released it between the two lines

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class GroupCommit:
    """Lets one thread at a time write, for itself and for those who queued.

    Args:
        run_group: runs the members' bodies in one transaction and commits, and sets each one's `result` or `error` and
            `done`. Only ever called by one thread at a time.
        door: the way into the database; a thread that is inside may not write.
    """

    def __init__(self, run_group: RunGroup, reentry: ReentryGuard) -> None:
        self._run_group = run_group
        self._reentry = reentry
        self._mutex = threading.Lock()
        # The member that writes now. It may still be at the head of the queue until it has begun.
        self._leader: Member | None = None
        self._queue: deque[Member] = deque()

    def write(self, body: Body, *, bare: bool = False, place: object = None) -> Any:
        """Run `body` in a transaction and return what it returned, once that is durable.

        Args:
            bare: each of its statements may stand alone, so that it needs no transaction of its own.
            place: see `Member`.
        Raises:
            ReentryError: this thread is in the middle of a call.
        """
        interruptible = this_thread()
        if interruptible is None:
            return self._reentry.run(self._write, Member(body, bare=bare, place=place))
        interruptible.enter_shield()
        try:
            return self._reentry.run(self._write, Member(body, bare=bare, place=place))
        finally:
            interruptible.leave_shield()

    def alone(self, body: Body) -> Any:
        """Run `body` while no thread writes, in no transaction: to close the connection, for example."""
        return self._reentry.run(self._write, Member(body, alone=True))

    def _write(self, member: Member) -> Any:
        try:
            with self._mutex:
                if self._leader is None:
                    self._leader = member
                else:
                    member.prepare_to_wait()
                    self._queue.append(member)
            if self._leader is not member:
                member.wait()
            if self._leader is member:
                self._lead(member)
        finally:
            # However it ended. A signal handler may have raised anywhere above (Ctrl-C, SIGTERM in the main thread),
            # or may raise in here, and no thread may wait for a leader that has ended.
            if self._leader is member or not member.done:
                try:
                    self._hand_over(member)
                except BaseException:
                    self._hand_over(member)
                    raise
        return member.outcome()

    def _lead(self, member: Member) -> None:
        queue = self._queue
        member.group = group = [member]
        # Checked first without the lock: a thread that arrives a moment later joins the next group.
        if queue:
            with self._mutex:
                if queue and queue[0] is member:
                    queue.popleft()
                # Never out of both the queue and the group: an exception may come between any two steps.
                if not member.alone:
                    group.extend(takewhile(lambda other: not other.alone, islice(queue, GROUP_LIMIT - 1)))
                for _ in group[1:]:
                    queue.popleft()
        if member.alone:
            member.result = member.body()
            member.done = True
        else:
            self._run_group(group)

    def _hand_over(self, member: Member) -> None:
        """Give the leadership to the next in the queue; or, for one that only waited, leave the queue.

        It may be interrupted at any point and called again.
        """
        queue = self._queue
        with self._mutex:
            if self._leader is member:
                if queue and queue[0] is member:
                    queue.popleft()
                if len(member.group) > 1:
                    undone = [other for other in member.group[1:] if not other.done and other not in queue]
                    queue.extendleft(reversed(undone))
                self._leader = queue[0] if queue else None
            elif not member.group:
                if member in queue:
                    queue.remove(member)
                # It may be in a group that runs now, and come back into the queue: no thread waits for it any more.
                member.done = True
            leader = self._leader
        if len(member.group) > 1:
            for other in member.group[1:]:
                if other.done:
                    other.signal()
        if leader is not None:
            leader.signal()
