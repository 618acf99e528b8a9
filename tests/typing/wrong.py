"""Mistakes that a type checker reports: one on each line with `# error`. Nothing here runs."""

from datetime import timedelta

import embedq
from embedq.contrib.flask import EmbedQ as FlaskExtension
from tests.typing.right import app, fetch, length, low, send_mail, shout

extension = FlaskExtension()


def arguments() -> None:
    embedq.enqueue(length, 7)  # error
    embedq.enqueue(length, "a", least=3)  # error
    embedq.enqueue(length)  # error
    embedq.enqueue(shout, "a", "b")  # error
    embedq.enqueue_in(60, length, 7)  # error
    app.enqueue(send_mail, "a")  # error
    low.enqueue(length, 7)  # error
    extension.enqueue(length, 7)  # error
    send_mail.enqueue("a")  # error
    send_mail.enqueue_in(60)  # error
    send_mail.options(queue="low").enqueue(7, 8)  # error
    fetch.enqueue(7)  # error
    embedq.call(length, 7)  # error
    send_mail.call("a")  # error


async def arguments_in_coroutines() -> None:
    await embedq.aenqueue(length, 7)  # error
    await send_mail.aenqueue("a")  # error


def results() -> None:
    number: int = send_mail.enqueue(7).result()  # error
    text: bytes = embedq.enqueue(shout, "a").result()  # error
    handle: embedq.JobHandle[int] = send_mail.enqueue(7)  # error
    many: list[embedq.JobHandle[int]] = embedq.enqueue_many([send_mail.call(7)])  # error
    print(number, text, handle, many)


def continuations() -> None:
    job = send_mail.enqueue(7)
    job.then(length, 7)  # error
    job.then(shout)  # error
    job.then(embedq.call(length, 7), on="failure")  # error
    number: int = job.then(shout, "a").result()  # error
    print(number)


def recurring() -> None:
    embedq.recurring("mail", "0 4 * * *", send_mail, "a")  # error
    app.recurring("mail", timedelta(hours=1), send_mail)  # error
    extension.recurring("mail", "0 4 * * *", send_mail, 7, 8)  # error
    embedq.recurring("mail", "0 4 * * *", embedq.call(send_mail, "a"), grace=None)  # error


def options() -> None:
    embedq.options(queu="low")  # error
    send_mail.options(priority="high")  # error
