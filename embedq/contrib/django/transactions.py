"""Enqueueing inside `transaction.atomic()`, without another word.

    with transaction.atomic():
        order.save()
        send_mail.enqueue(order.pk)      # a row of the same transaction: both are there afterwards, or neither is

EMBEDQ["atomic"] decides what happens there:

    "join"        the job is written through Django's connection, in the transaction that is open. Where jobs are in
                  another database, that cannot be, and it is as "on_commit"
    "on_commit"   it is held back until the commit, and never written after a rollback. A process that dies in between
                  has committed, and loses it. Until then the job has no id
    "at_once"     it is written by itself: a worker may run it before the commit, and after a rollback

With several databases the transaction on the jobs' own counts, else the first that is open, in the order of DATABASES.
Outside of `atomic()` a job is written at once, and so it is on threads that have their own connection. A block of
`embedq.transaction`, `on_commit` or `hold` wins.
"""

from __future__ import annotations

from django.db import connections

from embedq import default_app
from embedq.contrib.django import binding
from embedq.engine.transactions import Block


def block_around() -> Block | None:
    """For `Engine.block_around`: the transaction of the `atomic()` that is open in this thread, if one is."""
    open_here = [connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block]
    if not open_here or binding.bound() is None:
        return None
    app = default_app()
    # Connected first: since it was bound, a test run may have begun, with a database of its own.
    _ = app.database
    bound = binding.bound()
    if bound is None or bound.atomic == "at_once":
        return None
    own = next((connection for connection in open_here if connection.alias == bound.alias), None)
    if own is not None and bound.atomic == "join":
        return app.transaction(own)
    return app.on_commit(own or open_here[0])
