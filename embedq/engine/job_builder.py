"""Builds the row of a job from a call: options, middleware, checks, and the stored form of function and arguments."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from embedq.clock import FIRST_MICROS, LAST_MICROS, SECOND
from embedq.display.units import brief
from embedq.engine.lifecycle import Engine
from embedq.engine.unique_keys import unique_key
from embedq.errors import ConfigurationError, EnqueueError, SignatureError, UnstorableArgumentError
from embedq.flow.lanes import laned
from embedq.flow.unique import may_have_rule
from embedq.job import Trigger
from embedq.serializers import dumps_call, wants_parent_result
from embedq.storage.rows import NewJob
from embedq.tasks.lanes import lane_columns
from embedq.tasks.middleware import Draft
from embedq.tasks.options import DEFAULT_QUEUE, Options, ResolvedOptions, tags_to_json
from embedq.tasks.pickled import PackedFunction, pack
from embedq.tasks.task import Call, Task


class JobBuilder:
    """Builds the rows of calls, for one app."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def rows(self, calls: Iterable[Call[Any]]) -> list[NewJob]:
        """Build the rows of many calls, all created now. What the calls of one task share is built once.

        Raises:
            EnqueueError: one of them cannot be stored, or is not a call.
        """
        now = self._engine.clock.now()
        rows: list[NewJob] = []
        models: dict[Task[..., Any], NewJob] = {}
        for call in calls:
            if not isinstance(call, Call):
                raise SignatureError(
                    f"enqueue_many takes calls, such as embedq.call(function, argument), not {brief(call)}, which is "
                    f"number {len(rows) + 1}; nothing was enqueued"
                )
            task = call.task
            model = models.get(task)
            if model is not None:
                row = model.with_payload(self._payload(task, call.args, call.kwargs, trigger=None))
                rows.append(self._in_lane(row, task, call.args, call.kwargs) if row.lane_key is not None else row)
                continue
            row = self.row(call, now=now)
            rows.append(row)
            # Middleware may change anything, and what depends on the arguments is a unique key, and the signature of a
            # function that is not registered.
            if task.registered and not self._engine.enqueue_middleware and not may_have_rule(row.options):
                models[task] = row
        return rows

    def row(
        self,
        call: Call[Any],
        *,
        now: int | None = None,
        run_at: int | None = None,
        parent_id: int | None = None,
        trigger: Trigger | None = None,
    ) -> NewJob:
        """Build the row of a call.

        Args:
            now: microseconds; the clock's when None.
            run_at: microseconds; now when None.
        Raises:
            EnqueueError: it cannot be stored.
        """
        task, args, kwargs = call.task, call.args, call.kwargs
        resolved = self.resolve(task)
        options = resolved.options
        if now is None:
            now = self._engine.clock.now()
        due = now if run_at is None else run_at
        expires_at = None if options.expires_in is None else max(due, now) + int(options.expires_in * SECOND)
        queue, priority, key = resolved.queue, resolved.priority, options.idempotency_key
        tags, stored = resolved.tags_json, resolved.stored_json
        if self._engine.enqueue_middleware:
            draft = self._draft(call, resolved, due, expires_at, parent_id, trigger)
            args, kwargs, queue, priority, due = draft.args, draft.kwargs, draft.queue, draft.priority, draft.run_at
            key, expires_at, tags = draft.idempotency_key, draft.expires_at, tags_to_json(draft.tags)
            own = resolved.stored
            stored = (own if draft.timeout == options.timeout else replace(own, timeout=draft.timeout)).stored(
                draft.meta
            )
        if options.sameness is not None:
            key_parts = (options.sameness.by, task, args, kwargs)
            stored = options.sameness.rule(unique_key(*key_parts)).stored_in(stored)
        if due != now or expires_at is not None:
            _check_moments(task.name, due, expires_at)
        payload = self._payload(task, args, kwargs, trigger=trigger)
        row = NewJob(
            state="awaiting" if parent_id is not None else "ready" if due <= now else "scheduled",
            executor=task.executor,
            queue=queue,
            priority=priority,
            name=task.name,
            payload=payload,
            code=None if task.registered else self._signed_code(task, payload),
            options=stored,
            tags=tags,
            idempotency_key=key,
            parent_id=parent_id,
            trigger=trigger,
            schedule=None,
            created_at=now,
            run_at=max(due, now),
            expires_at=expires_at,
        )
        return self._in_lane(row, task, args, kwargs) if options.laned else row

    def _in_lane(self, row: NewJob, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        """Return the row with the lane of these arguments."""
        columns = lane_columns(task.name, task.function, self.resolve(task).options, args, kwargs)
        return row._replace(executor=laned(task.executor), **columns._asdict())

    def resolve(self, task: Task[..., Any]) -> ResolvedOptions:
        """Return the options of a task's jobs: of the enqueue, else of the decorator, else of the app."""
        resolved, app_defaults = task.resolved, self._engine.default_options
        if resolved is None or resolved.app_defaults is not app_defaults:
            resolved = ResolvedOptions.resolve(task.effective, task.overrides, app_defaults)
            options = resolved.options
            _check_texts(task.name, resolved.queue, options.idempotency_key, options.tags or ())
            task.resolved = resolved
        return resolved

    def _payload(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, trigger: Trigger | None
    ) -> str:
        """Return the arguments as text.

        Args:
            trigger: None for a job that is not a continuation.
        """
        try:
            text = dumps_call(args, kwargs, limit=self._engine.settings.max_payload_bytes, name=task.name)
        except UnstorableArgumentError as error:
            if args and task.is_method_of(args[0]) and str(error).startswith("argument args[0]"):
                raise UnstorableArgumentError(
                    f"{task.name} is a method, and its object, which is its first argument, cannot be stored: {error}; "
                    "make its class a dataclass, or enqueue a function that creates or loads the object"
                ) from None
            raise
        if trigger in (None, Trigger.FAILURE) and wants_parent_result(text):
            if trigger is None:
                raise EnqueueError(
                    f"{task.name} is not a continuation, but PARENT_RESULT is among its arguments: there is no result "
                    f"to put in its place. Enqueue it with parent.then({task.name.rpartition(':')[2]}, …), or "
                    "pass a value"
                )
            raise EnqueueError(
                f'{task.name} runs when its parent has failed (on="failure"), but PARENT_RESULT is one of its '
                'arguments: a failed job has no result. Remove it, or use on="success"'
            )
        return text

    def _draft(
        self,
        call: Call[Any],
        resolved: ResolvedOptions,
        due: int,
        expires_at: int | None,
        parent_id: int | None,
        trigger: Trigger | None,
    ) -> Draft:
        """Return the draft of a job as enqueue middleware leaves it."""
        task, options = call.task, resolved.options
        draft = Draft(
            name=task.name, args=call.args, kwargs=call.kwargs, queue=resolved.queue, priority=resolved.priority,
            run_at=due, tags=options.tags or (), idempotency_key=options.idempotency_key, expires_at=expires_at,
            timeout=options.timeout, parent_id=parent_id, trigger=trigger,
        )  # fmt: skip
        for middleware in self._engine.enqueue_middleware:
            draft = middleware(draft)
            if not isinstance(draft, Draft):
                raise ConfigurationError(
                    f"the enqueue middleware {middleware!r} returned {draft!r}; it must return the draft, or raise to "
                    "refuse the job"
                )
        draft = _checked(draft)
        _check_texts(draft.name, draft.queue, draft.idempotency_key, draft.tags)
        task.check(draft.args, draft.kwargs)
        return draft

    def _signed_code(self, task: Task[..., Any], payload: str) -> str:
        """Return the column `code` of an unregistered function. Its signature covers all that decides what runs."""
        limit = self._engine.settings.max_payload_bytes
        code = pack(task.function, limit=limit) if task.by_value else PackedFunction()
        key = self._engine.key
        signature = key.sign(*code.signed_parts(task.name, payload))
        return replace(code, sig=signature, key=key.id).to_text()


def _check_moments(name: str, due: int, expires_at: int | None) -> None:
    """Raise EnqueueError for moments that no datetime can hold; enqueue middleware may have set them."""
    moments = [("the moment at which it is due", due)]
    if expires_at is not None:
        moments.append(("the moment at which it expires", expires_at))
    for what, micros in moments:
        if not isinstance(micros, int) or isinstance(micros, bool):
            raise EnqueueError(f"{name} cannot be enqueued: {what} must be whole microseconds, not {brief(micros)}")
        if not FIRST_MICROS <= micros <= LAST_MICROS:
            side = "after the year 9999" if micros > 0 else "before the year 1"
            raise EnqueueError(f"{name} cannot be enqueued: {what} is {side}; use an earlier one, or none")


def _checked(draft: Draft) -> Draft:
    """Return the draft that middleware returned, checked as options and arguments are."""
    try:
        options = Options.parse(
            queue=draft.queue,
            priority=draft.priority,
            timeout=draft.timeout,
            idempotency_key=draft.idempotency_key,
            tags=draft.tags,
        )
        for what, value, kind in (("args", draft.args, tuple | list), ("kwargs", draft.kwargs, dict)):
            if not isinstance(value, kind):
                raise ConfigurationError(f"{what}={brief(value)} must be a {'dict' if kind is dict else 'tuple'}")
        try:
            json.dumps(dict(draft.meta))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"meta must be a dict of JSON values: {error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{draft.name} cannot be enqueued as enqueue middleware changed it: {error}") from None
    return replace(
        draft,
        args=tuple(draft.args),
        queue=options.queue or DEFAULT_QUEUE,
        priority=options.priority or 0,
        timeout=options.timeout,
        tags=options.tags or (),
    )


def check_text(what: str, text: str | None) -> None:
    """Raise EnqueueError for a text that no database can store."""
    if text is None or text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EnqueueError(
            f"{what} {text!r} contains half of a surrogate pair, which is not valid Unicode and cannot be stored; file "
            "names that are not UTF-8 look like that: os.fsencode() returns their bytes"
        ) from None


def _check_texts(name: str, queue: str, key: str | None, tags: Iterable[str]) -> None:
    for what, text in (("queue", queue), ("name", name), ("idempotency_key", key), *(("tag", tag) for tag in tags)):
        check_text(what, text)
