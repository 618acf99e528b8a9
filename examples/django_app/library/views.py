"""The pages. Whatever takes its time is enqueued, in the transaction of the rows that it is about."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

import embedq
from django_app.library.forms import SignUp, Upload
from django_app.library.jobs import REPORT, import_catalogue
from django_app.library.models import Catalogue, Reader, Report
from django_app.library.tasks import welcome
from embedq import Job, JobNotFoundError

try:
    from django.tasks import TaskResult
    from django.tasks.exceptions import TaskResultDoesNotExist
except ImportError:  # before Django 6
    from django_tasks import TaskResult
    from django_tasks.exceptions import TaskResultDoesNotExist


def index(request: HttpRequest, **forms: Any) -> HttpResponse:
    """The forms, with their errors."""
    found = {"signup": SignUp(), "upload": Upload(), "postbox": settings.POSTBOX, **forms}
    return render(request, "library/index.html", found, status=400 if forms else 200)


@require_POST
def signup(request: HttpRequest) -> HttpResponse:
    """A new reader, and the mail to them: both, or neither."""
    form = SignUp(request.POST)
    if not form.is_valid():
        return index(request, signup=form)
    # embedq joins Django's transaction by itself. A crash before the commit leaves neither; one after it both, and the
    # mail is sent after the restart.
    with transaction.atomic():
        reader = form.save()
        reader.mail = welcome.enqueue(reader.pk).id
        reader.save()
    return redirect("activity")


@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """A catalogue. The request only keeps the file; a job reads it."""
    form = Upload(request.POST, request.FILES)
    if not form.is_valid():
        return index(request, upload=form)
    file = form.cleaned_data["file"]
    with transaction.atomic():
        catalogue = Catalogue(name=file.name)
        catalogue.file.save(f"{uuid4()}.csv", file)
        catalogue.job = import_catalogue.enqueue(catalogue.pk).id
        catalogue.save()
    return redirect("activity")


@require_POST
def report(request: HttpRequest) -> HttpResponse:
    """Run the nightly report now, besides its schedule."""
    embedq.trigger_recurring(REPORT)
    return redirect("activity")


@require_POST
def switch_postbox(request: HttpRequest) -> HttpResponse:
    """Switch the mail server of the example on or off."""
    settings.POSTBOX.switch()
    return redirect("index")


def activity(request: HttpRequest) -> HttpResponse:
    """The activity. The page reloads itself, with a plain `<meta>`, as long as there is any."""
    readers = [(reader, result_of(reader)) for reader in Reader.objects.order_by("-pk")[:6]]
    catalogues = [(catalogue, job_of(catalogue)) for catalogue in Catalogue.objects.order_by("-pk")[:6]]
    queue = embedq.default_app()
    last_report = next(iter(queue.jobs(schedule=REPORT, limit=1)), None)
    unfinished = [result for _, result in readers if result is not None and not result.is_finished]
    unfinished += [job for _, job in [*catalogues, (None, last_report)] if job is not None and not job.state.ended]
    found = {
        "readers": readers,
        "catalogues": catalogues,
        "last_report": last_report,
        "report": Report.objects.order_by("-pk").first(),
        "schedule": next((one for one in queue.schedules() if one.name == REPORT), None),
        "postbox": settings.POSTBOX,
        "unfinished": bool(unfinished),
    }
    return render(request, "library/activity.html", found)


def sample(request: HttpRequest) -> HttpResponse:
    """A catalogue to try it with."""
    lines = [f"The art of tea vol. {number},Author {number % 70}" for number in range(2000)]
    return HttpResponse("title,author\n" + "\n".join(lines), content_type="text/csv")


def result_of(reader: Reader) -> TaskResult | None:
    """The result of the mail to a reader, from Django's API. None when it is no longer kept."""
    try:
        return welcome.get_result(reader.mail)
    except TaskResultDoesNotExist:
        return None


def job_of(catalogue: Catalogue) -> Job | None:
    """The job that reads a catalogue. None when it is no longer kept: a day after its success."""
    try:
        return embedq.default_app().job(int(catalogue.job)).snapshot()
    except JobNotFoundError:
        return None
