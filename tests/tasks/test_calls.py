"""Calls as values, parameters of any name, and methods as jobs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import PARENT_RESULT, ConfigurationError, EmbedQ, ScheduleError, SignatureError, UnstorableArgumentError
from embedq.testing import app_under_test
from tests.support import resume_registry

# Every name that a verb of embedq's, or a function on the way to the job, has for a parameter of its own.
NAMES = (
    "self", "on", "timezone", "misfire", "grace", "function", "name", "when", "delay", "moment", "timeout", "queue",
    "priority", "retry", "tags", "target", "args", "kwargs", "call", "run_at", "now", "limit", "connection", "state",
    "job", "context", "run", "task", "parent_id", "trigger", "cls",
)  # fmt: skip


def takes_any_name(**given: Any) -> dict[str, Any]:
    return given


async def takes_any_name_async(**given: Any) -> dict[str, Any]:
    return given


def switch(self: int, on: str, timezone: str = "UTC", grace: int = 0) -> list[Any]:
    return [self, on, timezone, grace]


GIVEN = {name: f"the {name}" for name in NAMES}


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with resume_registry():
        yield


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_function_gets_parameters_of_any_name(app: EmbedQ, executor: Any) -> None:
    function = takes_any_name_async if executor == "async" else takes_any_name
    app.start()
    assert app.options(executor=executor).enqueue(function, **GIVEN).result(60) == GIVEN
    assert app.options(executor=executor).enqueue(app.call(function, **GIVEN)).result(60) == GIVEN
    if executor != "process":
        assert app.job(function).enqueue(**GIVEN).result(60) == GIVEN


def test_every_verb_takes_a_call(app: EmbedQ) -> None:
    call = app.call(switch, 1, on="yes", timezone="Mars", grace=5)
    app.start()
    jobs = [
        app.enqueue(call),
        app.enqueue_in(timedelta(0), call),
        app.enqueue_at(inspect_now(app), call),
        asyncio.run(app.aenqueue(call)),
        app.options(queue="low").enqueue(call),
        app.options(queue="low").enqueue_in(0, call),
        *app.enqueue_many([call, app.options(queue="low").call(call)]),
    ]
    jobs.append(jobs[0].then(call, on="finished"))
    with app.hold():
        jobs.append(app.enqueue(call))
        jobs.append(jobs[-1].then(call))
    app.recurring("switch", "@daily", call, timezone="Europe/Berlin", grace=timedelta(hours=1))
    jobs.append(app.trigger_recurring("switch"))
    assert [job.result(60) for job in jobs] == [[1, "yes", "Mars", 5]] * len(jobs)
    assert [job.snapshot().queue for job in jobs].count("low") == 3
    assert call() == [1, "yes", "Mars", 5]


def inspect_now(app: EmbedQ) -> Any:
    return app.enqueue(print).snapshot().created_at


def test_the_functions_of_the_module_take_calls_too(tmp_path: Any) -> None:
    other = EmbedQ(tmp_path / "other.db").connect()
    call = embedq.call(switch, self=1, on="x")
    assert other.enqueue(call).snapshot().name == "tests.tasks.test_calls:switch"
    other.close()


def test_a_keyword_that_a_verb_has_taken_is_reported(app: EmbedQ) -> None:
    app.connect()
    job = app.enqueue(switch, 1, on="x")
    way_out = r"takes .*for itself; .*tests\.tasks\.test_calls:switch .*embedq\.call\(function, {}=…\)"
    with pytest.raises(ConfigurationError, match='on=True must be "success".*' + way_out.format("on")):
        job.then(switch, 1, on=True)  # type: ignore[arg-type]
    with pytest.raises(SignatureError, match="missing a required argument: 'on'.*" + way_out.format("on")):
        job.then(switch, 1, on="failure")
    with app.hold(), pytest.raises(SignatureError, match=way_out.format("on")):
        app.enqueue(switch, 1, on="x").then(switch, 1)  # type: ignore[call-overload]
    for taken in ({"timezone": "Mars"}, {"timezone": 7}, {"grace": 7}):
        with pytest.raises(ScheduleError, match=way_out.format("timezone")):
            app.recurring("r", "@daily", switch, 1, on="x", **taken)
    with pytest.raises(ScheduleError, match="grace=7 must be a timedelta") as refused:
        app.recurring("r", "@daily", takes_any_name, grace=7)
    assert "embedq.call" not in str(refused.value)


def test_a_call_takes_no_arguments_besides_and_is_no_function(app: EmbedQ) -> None:
    call = app.call(switch, 1, on="x")
    with pytest.raises(SignatureError, match="put all of them into it"):
        app.enqueue(call, 1)  # type: ignore[call-overload]
    with pytest.raises(embedq.UnstorableFunctionError, match="a call of tests"):
        app.options(queue="low").task(call)


# -- methods -----------------------------------------------------------------------------------------------------------


def shop_of(app: EmbedQ) -> Any:
    """A class with methods that are jobs, as if it stood at the top level of a module."""

    @dataclass
    class Shop:
        name: str

        @app.job(name="Shop.sell")
        def sell(self, what: str, on: str = "") -> str:
            return f"{self.name} sells {what}"

        @app.job(name="Shop.asell")
        async def asell(self, what: str) -> str:
            return f"{self.name} sells {what}"

        @staticmethod
        @app.job(name="Shop.inner")
        def inner(what: str) -> str:
            return what

        @app.job(name="Shop.outer")
        @staticmethod
        def outer(what: str) -> str:
            return what

    Shop.__qualname__ = "Shop"
    for member in (Shop.sell, Shop.asell):
        member.function.__qualname__ = f"Shop.{member.function.__name__}"
    globals()["Shop"] = Shop
    return Shop


def test_a_method_is_called_as_ever_and_enqueued_with_its_object(app: EmbedQ) -> None:
    Shop = shop_of(app)
    app.start()
    shop = Shop("the corner shop")
    assert shop.sell("tea") == Shop.sell(shop, "tea") == "the corner shop sells tea"
    assert asyncio.run(shop.asell("tea")) == "the corner shop sells tea"
    sold = [
        shop.sell.enqueue("tea"),
        shop.asell.enqueue("tea"),
        shop.sell.options(queue="low").enqueue_in(0, "tea"),
        Shop.sell.enqueue(shop, "tea"),
        app.enqueue(shop.sell, "tea"),
        app.options(queue="low").enqueue(shop.sell, "tea"),
        *app.enqueue_many([shop.sell.call("tea"), app.call(shop.sell, "tea", on="x")]),
    ]
    sold.append(sold[0].then(shop.sell, "tea"))
    assert {job.result(60) for job in sold} == {"the corner shop sells tea"}
    assert sold[0].then(shop.sell, PARENT_RESULT).result(60) == "the corner shop sells the corner shop sells tea"
    assert sold[2].snapshot().queue == sold[5].snapshot().queue == "low"
    assert str(inspect.signature(shop.sell)) == "(what: 'str', on: 'str' = '') -> 'str'"
    with pytest.raises(SignatureError, match="missing a required argument: 'what'"):
        shop.sell.enqueue()


def test_a_static_method_is_a_job_with_the_decorators_in_either_order(app: EmbedQ) -> None:
    Shop = shop_of(app)
    app.start()
    for job in (Shop.inner, Shop.outer, Shop("x").inner, Shop("x").outer):
        assert job("tea") == job.enqueue("tea").result(60) == "tea"


def test_a_test_asserts_on_calls_methods_and_names(tmp_path: Path) -> None:
    app = embedq.default_app()
    Shop = shop_of(app)
    with app_under_test(folder=tmp_path) as kit:
        Shop("x").sell.enqueue("tea")
        embedq.enqueue(embedq.call(switch, 1, on="x"))
        embedq.by_name("elsewhere:send").options(queue="low").enqueue(7)
        kit.assert_enqueued(Shop("x").sell, "tea")
        kit.assert_not_enqueued(Shop("y").sell, "tea")
        kit.assert_enqueued(embedq.call(switch, 1, on="x"))
        kit.assert_not_enqueued(embedq.call(switch, 1, on="y"))
        kit.assert_enqueued(embedq.by_name("elsewhere:send"), 7)
        kit.assert_not_enqueued(embedq.by_name("elsewhere:send").options(queue="high"))


def test_an_object_that_cannot_be_stored_is_refused_with_what_to_do(app: EmbedQ) -> None:
    class Plain:
        @app.job(name="Plain.sell")
        def sell(self, what: str) -> str:
            return what

    assert Plain().sell("tea") == "tea"
    app.connect()
    for enqueue in (
        lambda: Plain().sell.enqueue("tea"),
        lambda: app.enqueue_many([Plain().sell.call("tea"), Plain().sell.call("coffee")]),
    ):
        with pytest.raises(UnstorableArgumentError, match=r"Plain.sell is a method, and its object.*a dataclass, or"):
            enqueue()


def test_a_task_that_a_class_only_refers_to_is_not_its_method(app: EmbedQ) -> None:
    task = app.job(switch)

    class View:
        notify = task

    assert View().notify is View.notify is task


def test_a_class_method_is_refused_when_it_is_decorated(app: EmbedQ) -> None:
    refused = r"is a class method, .* make it a @staticmethod, or .*embedq\.enqueue\(Class\.method"
    with pytest.raises(ConfigurationError, match=refused):

        class Outer:
            @app.job(name="a")
            @classmethod
            def sell(cls) -> None: ...

    with pytest.raises(ConfigurationError, match=refused):

        class Inner:
            @classmethod
            @app.job(name="b")
            def sell(cls) -> None: ...


class Till:
    @classmethod
    def count(cls, coins: int) -> str:
        return f"{cls.__name__} has {coins}"


def test_a_class_method_without_the_decorator_is_enqueued_by_name(app: EmbedQ) -> None:
    app.start()
    job = app.enqueue(Till.count, 3)
    assert job.result(60) == "Till has 3"
    assert job.snapshot().name == "tests.tasks.test_calls:Till.count"
