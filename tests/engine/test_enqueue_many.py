"""Many calls in one transaction: each is stored as it would be alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

import embedq
from embedq import Draft, SignatureError


def plain(number: int) -> int:
    return number


def test_calls_of_several_functions_and_options_keep_their_order_arguments_and_options(app: embedq.EmbedQ) -> None:
    registered = app.job(name="registered")(plain)
    urgent = registered.options(priority=5, tags=["urgent"])
    calls = [
        app.call(registered, 1),
        app.call(urgent, 2),
        app.call(registered, 3),
        app.call(plain, 4),
        app.call(plain, 5),
        app.call(urgent, 6),
    ]
    stored = [handle.snapshot() for handle in app.enqueue_many(calls)]
    assert [(job.id, job.priority, job.tags) for job in stored] == [
        (1, 0, ()), (2, 5, ("urgent",)), (3, 0, ()), (4, 0, ()), (5, 0, ()), (6, 5, ("urgent",)),
    ]  # fmt: skip
    app.start()
    assert [app.job(job.id).result(timeout=10) for job in stored] == [1, 2, 3, 4, 5, 6]


def test_enqueue_middleware_sees_each_of_many_calls(app: embedq.EmbedQ) -> None:
    def number_as_priority(draft: Draft) -> Draft:
        return replace(draft, priority=draft.args[0])

    app.engine.enqueue_middleware.append(number_as_priority)
    registered = app.job(name="registered")(plain)
    stored = [handle.snapshot() for handle in app.enqueue_many(app.call(registered, number) for number in (3, 1, 2))]
    assert [job.priority for job in stored] == [3, 1, 2]


@pytest.mark.parametrize("other", [plain, (plain, 1), 5, None])
def test_what_is_no_call_is_named_and_nothing_is_enqueued(app: embedq.EmbedQ, other: object) -> None:
    with pytest.raises(SignatureError, match=r"takes calls, such as .*, not .*, which is number 2; nothing"):
        app.enqueue_many([app.call(plain, 1), other])  # type: ignore[arg-type]
    assert app.jobs() == []
