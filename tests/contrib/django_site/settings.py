"""Settings of the small project. TEST_DATABASE is one entry of DATABASES as JSON, TEST_EMBEDQ the setting EMBEDQ."""

from __future__ import annotations

import json
import os

from tenacity import wait_none

import embedq
from tests.contrib.django_site import TASKS_FRAMEWORK

SECRET_KEY = "the key of a test"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
ROOT_URLCONF = "tests.contrib.django_site.urls"
WSGI_APPLICATION = "tests.contrib.django_site.wsgi.application"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "embedq.contrib.django",
    "tests.contrib.django_site.shop",
    *(["django_tasks"] if TASKS_FRAMEWORK == "django_tasks" else []),
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["TEST_DATABASE"])}
EMBEDQ = json.loads(os.environ.get("TEST_EMBEDQ", "{}"))
TASKS = {
    "default": {"BACKEND": "embedq.contrib.django.tasks.EmbedQBackend", "QUEUES": ["default", "mail"]},
    "patient": {
        "BACKEND": "embedq.contrib.django.tasks.EmbedQBackend",
        "OPTIONS": {"timeout": 60, "retry": embedq.Retry(attempts=3, wait=wait_none())},
    },
    "hasty": {"BACKEND": "embedq.contrib.django.tasks.EmbedQBackend", "OPTIONS": {"timeout": 0.2}},
    "at_once": {"BACKEND": f"{TASKS_FRAMEWORK}.backends.immediate.ImmediateBackend"},
    "aside": {"BACKEND": "embedq.contrib.django.tasks.EmbedQBackend", "OPTIONS": {"executor": "process"}},
    "other": {"BACKEND": "embedq.contrib.django.tasks.EmbedQBackend"},
}
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    import pymysql

    # Django asks for a driver of this name and version, and PyMySQL can stand in for it.
    pymysql.version_info = (2, 2, 8, "final", 0)
    pymysql.install_as_MySQLdb()
