"""From a call to a row: options, middleware, storing the function and its arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from embedq.by_value import PackedFunction, pack
from embedq.clock import SECOND
from embedq.engine import Engine
from embedq.errors import ConfigurationError, EnqueueError, UnstorableFunctionError
from embedq.functions import display_name, name_of
from embedq.job import Trigger
from embedq.middleware import Draft
from embedq.options import Options
from embedq.serializers import dumps_call, wants_parent_result
from embedq.storage.rows import NewJob
from embedq.task import Call, Enqueuer, Task

DEFAULT_QUEUE = "default"
# Further than any clock goes, and still 64 bits.
MAX_MICROS = 2**62


class Drafting:
    """Turns calls into rows, for one app."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def register(
        self, function: Callable[..., Any] | None, given: Mapping[str, Any], *, enqueuer: Callable[[], Enqueuer]
    ) -> Any:
        """The body of `@job`: a task, or the decorator that makes one.

        Args:
            given: the decorator's keywords: `name`, `aliases` and options.
        """
        options = dict(given)
        name, aliases = options.pop("name", None), tuple(options.pop("aliases", ()))
        defaults = Options.parse(**options)
        if defaults.idempotency_key is not None:
            raise ConfigurationError(
                "an idempotency_key belongs to one enqueue, not to a function: "
                "use .options(idempotency_key=…).enqueue(…)"
            )

        def decorate(target: Callable[..., Any]) -> Task[..., Any]:
            if isinstance(target, Task):
                raise ConfigurationError(f"{target.name} is a job already; decorate it once")
            own = name or name_of_definition(target)
            task: Task[..., Any] = Task(target, name=own, registered=True, defaults=defaults, enqueuer=enqueuer)
            self._engine.registry.add(task, aliases)
            return task

        return decorate if function is None else decorate(function)

    def rows(self, calls: Iterable[Call]) -> list[NewJob]:
        """The rows of many calls, all made now. What the calls of one task share is worked out once.

        Raises:
            EnqueueError: one of them cannot be stored.
        """
        now = self._engine.clock.now()
        limit = self._engine.settings.max_payload_bytes
        rows: list[NewJob] = []
        models: dict[Task[..., Any], NewJob] = {}
        for call in calls:
            task = call.task
            model = models.get(task)
            if model is not None:
                rows.append(model.with_payload(dumps_call(call.args, call.kwargs, limit=limit, name=task.name)))
                continue
            row = self.row(call, now=now)
            rows.append(row)
            # Middleware may change anything, and a function that is not registered is signed with its arguments.
            if task.registered and not self._engine.enqueue_middleware:
                models[task] = row
        return rows

    def row(
        self,
        call: Call,
        *,
        now: int | None = None,
        run_at: int | None = None,
        parent_id: int | None = None,
        trigger: Trigger | None = None,
    ) -> NewJob:
        """The row of a call.

        Args:
            now: microseconds; the clock's when None.
            run_at: microseconds; now when None.
        Raises:
            EnqueueError: it cannot be stored.
        """
        task, wanted = call.task, call.task.wanted
        if now is None:
            now = self._engine.clock.now()
        due = now if run_at is None else run_at
        args, kwargs = call.args, call.kwargs
        queue = wanted.queue or DEFAULT_QUEUE
        priority = wanted.priority or 0
        tags, key, meta = wanted.tags, wanted.idempotency_key, None
        expires_at = None if wanted.expires_in is None else max(due, now) + int(wanted.expires_in * SECOND)
        if self._engine.enqueue_middleware:
            draft = self._through_middleware(
                Draft(
                    name=task.name, args=args, kwargs=kwargs, queue=queue, priority=priority, run_at=due,
                    tags=tags or (), idempotency_key=key, expires_at=expires_at, timeout=wanted.timeout,
                    parent_id=parent_id, trigger=trigger,
                )
            )  # fmt: skip
            task.check(draft.args, draft.kwargs)
            args, kwargs, queue, priority, due = draft.args, draft.kwargs, draft.queue, draft.priority, draft.run_at
            tags, key, expires_at, meta = draft.tags, draft.idempotency_key, draft.expires_at, draft.meta
            overrides = (
                task.overrides if draft.timeout == wanted.timeout else replace(task.overrides, timeout=draft.timeout)
            )
        else:
            overrides = task.overrides
        if not -MAX_MICROS < due < MAX_MICROS:
            raise EnqueueError(f"{task.name} cannot be due at {due} µs since 1970; that is beyond any calendar")
        for what, text in (("queue", queue), ("name", task.name), ("idempotency_key", key)):
            check_text(what, text)
        for tag in tags or ():
            check_text("tag", tag)
        payload = dumps_call(args, kwargs, limit=self._engine.settings.max_payload_bytes, name=task.name)
        if trigger is Trigger.FAILURE and wants_parent_result(payload):
            raise EnqueueError(
                f'{task.name} is to run when its parent has failed (on="failure"), and PARENT_RESULT is among its '
                'arguments: a job that failed leaves no result. Leave it out, or use on="success"'
            )
        if wanted.retention is not None and overrides.retention is None:
            # Needed where no code of the app runs, as when a waiting job is cancelled from the command line.
            overrides = replace(overrides, retention=wanted.retention)
        return NewJob(
            state="awaiting" if parent_id is not None else "ready" if due <= now else "scheduled",
            executor=task.executor,
            queue=queue,
            priority=priority,
            name=task.name,
            payload=payload,
            code=None if task.registered else self._signed_code(task, payload),
            options=overrides.stored(meta or {}),
            tags=json.dumps(tags, ensure_ascii=False) if tags else None,
            idempotency_key=key,
            parent_id=parent_id,
            trigger=trigger,
            schedule=None,
            created_at=now,
            run_at=max(due, now),
            expires_at=expires_at,
        )

    def _through_middleware(self, draft: Draft) -> Draft:
        for middleware in self._engine.enqueue_middleware:
            draft = middleware(draft)
            if not isinstance(draft, Draft):
                raise ConfigurationError(
                    f"the enqueue middleware {middleware!r} returned {draft!r}; it must return the draft, or raise to "
                    "refuse the job"
                )
        return draft

    def _signed_code(self, task: Task[..., Any], payload: str) -> str:
        """The column `code` of a function that is not registered: what is signed is what decides what runs."""
        limit = self._engine.settings.max_payload_bytes
        code = pack(task.function, limit=limit) if task.by_value else PackedFunction()
        key = self._engine.key
        signature = key.sign(*code.signed_parts(task.name, payload))
        return replace(code, sig=signature, key=key.id).to_text()


def check_text(what: str, text: str | None) -> None:
    """Raise EnqueueError for a text that no database can hold."""
    if text is None or text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EnqueueError(
            f"{what} {text!r} has half of a surrogate pair in it, which is no Unicode text and cannot be stored; file "
            "names that are not UTF-8 come like that: os.fsencode() tells what is in them"
        ) from None


def name_of_definition(function: Callable[..., Any]) -> str:
    """The name of a function that is being defined: it cannot be looked up yet, but will be found there.

    Raises:
        UnstorableFunctionError: it is nested or a lambda, so that no other process will find it under any name.
    """
    qualname = getattr(function, "__qualname__", "<")
    if "<" in qualname:
        raise UnstorableFunctionError(
            f"{display_name(function)} cannot be registered by its own name, because no other process finds it there; "
            "move it to the module's top level, or give it a name: @embedq.job(name=…)"
        )
    return name_of(function) or display_name(function)
