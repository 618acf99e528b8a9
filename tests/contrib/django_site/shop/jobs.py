"""Jobs, found because the module has this name."""

from __future__ import annotations

from django.db import connection, transaction
from django.utils import timezone, translation

import embedq
from tests.contrib.django_site.shop.models import Order


@embedq.job
def note(text: str) -> int:
    """Leave an order behind."""
    return int(Order.objects.create(name=text).pk)


@embedq.job
async def anote(text: str) -> int:
    """The same, on the event loop."""
    order = await Order.objects.acreate(name=text)
    return int(order.pk)


@embedq.job
def look_around() -> list[str]:
    """What is around a job; and leave it changed."""
    found = [str(translation.get_language()), timezone.get_current_timezone_name()]
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    return found


@embedq.job
def leave_transaction_open() -> None:
    """As when it is interrupted where the block ends."""
    transaction.atomic().__enter__()
    Order.objects.create(name="lost")


@embedq.job
def has_connection() -> bool:
    """Whether an earlier job has left this thread a connection."""
    found = connection.connection is not None
    Order.objects.count()
    return found
