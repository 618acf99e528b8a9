"""Tasks by Django's own API. Nothing of it but `retry` is embedq's: the same code runs on any backend."""

from __future__ import annotations

import tenacity
from django.core.mail import EmailMessage
from django.utils import timezone

import embedq
from django_app.library.models import Book, Reader, Report
from postbox import may_work_later

try:
    from django.tasks import task
except ImportError:  # before Django 6
    from django_tasks import task

# For Django a task that raises has failed, so it runs once unless it has a retry policy. This one is tried again
# after about 1 s, 2 s, 4 s and so on up to ten minutes, for some three hours.
patient = embedq.Retry(
    attempts=25,
    wait=tenacity.wait_exponential_jitter(max=600, jitter=0.5),
    retry=tenacity.retry_if_exception(may_work_later),
)


@task(queue_name="mail", retry=patient)
def welcome(reader_id: int) -> None:
    """Mail a new reader. Run again after a crash, it sends no second mail to anyone."""
    reader = Reader.objects.get(pk=reader_id)
    if reader.greeted_at:
        return
    EmailMessage(
        subject=f"Welcome, {reader.name}",
        body=f"Hello {reader.name},\n\nplease bring them back.\n",
        from_email="The village library <books@library.example>",
        to=[reader.email],
        # SMTP has no transactions: killed after sending and before the line below, the task would send again. Mail
        # programs show two letters of the same id once.
        headers={"Message-ID": f"<welcome-{reader_id}@library.example>"},
    ).send()
    Reader.objects.filter(pk=reader_id).update(greeted_at=timezone.now())


@task
def nightly_report() -> None:
    """Write down how the library stands."""
    Report.objects.create(text=f"{Reader.objects.count()} readers, {Book.objects.count()} books")
