"""Tasks by Django's own API; nothing here is embedq's."""

from __future__ import annotations

import asyncio
import os
import time
from importlib import import_module
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.html import format_html

from tests.contrib.django_site import TASKS_FRAMEWORK
from tests.contrib.django_site.shop.models import Order

task = import_module(TASKS_FRAMEWORK).task


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task(priority=5, queue_name="mail")
async def aorder(name: str) -> str:
    order = await Order.objects.acreate(name=name)
    return str(order.name)


@task(takes_context=True)
def introspect(context: Any, *, refresh: bool = False) -> dict[str, Any]:
    if refresh:
        context.task_result.refresh()
    return {
        "id": context.task_result.id,
        "attempt": context.attempt,
        "status": str(context.task_result.status),
        "workers": len(context.task_result.worker_ids),
    }


@task
def refuse(message: str) -> None:
    raise ValidationError(message)


@task
def refuse_with_a_cause() -> None:
    try:
        raise ConnectionError("the shop is closed")
    except ConnectionError as error:
        raise ValueError("no more tea") from error


@task
def markup(name: str) -> str:
    return str(format_html("<b>{}</b>", name))


@task
def unstorable() -> object:
    return object()


@task(backend="patient", takes_context=True)
def stubborn(context: Any) -> int:
    if context.attempt < 3:
        raise ConnectionError(f"attempt {context.attempt}")
    return int(context.attempt)


@task(backend="aside")
def order_aside(name: str) -> list[int]:
    return [os.getpid(), Order.objects.create(name=name).pk]


@task(backend="at_once")
def elsewhere(word: str) -> str:
    return word


@task(backend="hasty")
def linger() -> None:
    while True:
        time.sleep(0.01)


@task(backend="hasty", takes_context=True)
async def alinger(context: Any) -> None:
    assert context.attempt == 1
    await asyncio.sleep(60)
