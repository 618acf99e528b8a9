"""The types of handles, results and calls, as a type checker infers them. Nothing here runs."""

from datetime import datetime, timedelta
from typing import assert_type

import embedq
from embedq import Call, EmbedQ, JobHandle
from embedq.contrib.flask import EmbedQ as FlaskExtension

app = EmbedQ()
extension = FlaskExtension()
low = embedq.options(queue="low")
SOON = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


def length(text: str, *, most: int = 0) -> int:
    return min(len(text), most)


async def shout(text: str) -> str:
    return text.upper()


@embedq.job
def send_mail(user_id: int) -> str:
    return str(user_id)


@app.job(queue="mail")
async def fetch(url: str) -> bytes:
    return url.encode()


def results_of_functions() -> None:
    assert_type(embedq.enqueue(length, "a", most=3), JobHandle[int])
    assert_type(embedq.enqueue(length, "a").result(), int)
    assert_type(embedq.enqueue_in(60, length, "a").result(timeout=1), int)
    assert_type(embedq.enqueue_at(SOON, length, "a").result(), int)
    assert_type(app.enqueue(length, "a").result(), int)
    assert_type(app.enqueue_in(timedelta(1), length, "a").result(), int)
    assert_type(low.enqueue(length, "a").result(), int)
    assert_type(low.enqueue_in(1, length, "a").result(), int)
    assert_type(extension.enqueue(length, "a").result(), int)


def results_of_coroutine_functions() -> None:
    assert_type(embedq.enqueue(shout, "a"), JobHandle[str])
    assert_type(embedq.enqueue(shout, "a").result(), str)
    assert_type(embedq.enqueue_at(SOON, shout, "a").result(), str)
    assert_type(low.enqueue(shout, "a").result(), str)
    assert_type(fetch.enqueue("a").result(), bytes)
    assert_type(fetch.enqueue_in(60, "a").result(), bytes)
    assert_type(fetch.options(priority=1).enqueue("a").result(), bytes)


def results_of_tasks() -> None:
    assert_type(send_mail(7), str)
    assert_type(send_mail.enqueue(7), JobHandle[str])
    assert_type(send_mail.enqueue(7).result(), str)
    assert_type(send_mail.enqueue_in(60, 7).result(), str)
    assert_type(send_mail.enqueue_at(SOON, 7).result(), str)
    assert_type(send_mail.options(queue="low").enqueue(7).result(), str)
    assert_type(app.enqueue(send_mail, 7).result(), str)
    assert_type(low.task(length).enqueue("a").result(), int)


async def results_for_coroutines() -> None:
    assert_type(await embedq.aenqueue(length, "a"), JobHandle[int])
    assert_type(await (await embedq.aenqueue(shout, "a")).aresult(), str)
    assert_type(await (await send_mail.aenqueue(7)).aresult(), str)
    assert_type(await (await fetch.aenqueue("a")).aresult(), bytes)
    assert_type(await (await low.aenqueue(shout, "a")).aresult(), str)


def calls() -> None:
    assert_type(embedq.call(length, "a"), Call[int])
    assert_type(send_mail.call(7), Call[str])
    assert_type(embedq.enqueue(send_mail.call(7)).result(), str)
    assert_type(embedq.enqueue(embedq.call(shout, "a")).result(), str)
    assert_type(embedq.enqueue_many([send_mail.call(7), send_mail.call(8)]), list[JobHandle[str]])
    assert_type(app.enqueue_many(app.call(shout, text) for text in "abc"), list[JobHandle[str]])


def continuations() -> None:
    job = send_mail.enqueue(7)
    assert_type(job.then(length, "a"), JobHandle[int])
    assert_type(job.then(length, embedq.PARENT_RESULT).result(), int)
    assert_type(job.then(shout, "a").result(), str)
    assert_type(job.then(send_mail, 8, on="failure").result(), str)
    assert_type(job.then(fetch, "a", on="finished").result(), bytes)
    assert_type(job.then(embedq.call(length, "a"), on="failure").result(), int)


def recurring() -> None:
    embedq.recurring("mail", "0 4 * * *", send_mail, 7)
    embedq.recurring("mail", "0 4 * * *", send_mail, 7, timezone="Europe/Rome", misfire="all")
    app.recurring("mail", timedelta(hours=1), send_mail.options(queue="low"), 7, grace=timedelta(minutes=5))
    extension.recurring("shout", embedq.every(minutes=5), shout, "a", misfire="skip")
    embedq.recurring("mail", "0 4 * * *", embedq.call(send_mail, 7), grace=None)


def handles_without_a_type(job_id: int) -> JobHandle:
    any_of_them: list[JobHandle] = [app.job(job_id), send_mail.enqueue(7), embedq.enqueue(length, "a")]
    texts: JobHandle[str] = app.job(job_id)
    some: JobHandle[str | int] = texts
    any_of_them.append(some)
    return any_of_them[0]
