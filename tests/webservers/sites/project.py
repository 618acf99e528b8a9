"""A Django project in one file, for its `asgi.py` and `manage.py`. The workers start when its handler is made."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path, register_converter
from django.views.decorators.csrf import csrf_exempt

import embedq


class FloatConverter:
    regex = r"[0-9.]+"
    to_python = float
    to_url = str


if not settings.configured:
    settings.configure(
        DEBUG=True,
        SECRET_KEY="the key of a test",
        ROOT_URLCONF="tests.webservers.sites.project",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["embedq.contrib.django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}},
        EMBEDQ={"url": os.environ["EMBEDQ_URL"], "workers": 3, "stop_timeout": 5.0},
    )
    django.setup()

from tests.webservers.sites import TASKS  # noqa: E402

embedq.recurring("tick", embedq.every(seconds=1), TASKS["run"], misfire="all", overlap="allow")


@csrf_exempt
def enqueue(request: HttpRequest, task: str, seconds: float) -> HttpResponse:
    return HttpResponse(str(TASKS[task].enqueue(seconds).id))


register_converter(FloatConverter, "float")
urlpatterns = [path("<task>/<float:seconds>", enqueue)]
