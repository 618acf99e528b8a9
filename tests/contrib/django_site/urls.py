"""One page: it enqueues."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.contrib.django_site.shop.jobs import note


def enqueue(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(note.enqueue("from a request").id))


urlpatterns = [path("enqueue", enqueue)]
