"""Settings of the library. What is about embedq is at the end."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import django

from postbox import Postbox

DATA = Path(os.environ.get("EXAMPLE_DATA", Path(__file__).parent / "data")).resolve()
DATA.mkdir(parents=True, exist_ok=True)

SECRET_KEY = "of the example; yours is a secret"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "django_app.urls"
WSGI_APPLICATION = "django_app.wsgi.application"
STATIC_URL = "static/"
STATICFILES_DIRS = [Path(__file__).parent.parent / "static"]
MEDIA_ROOT = DATA / "uploads"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

POSTBOX = Postbox(DATA / "mail", 8027)
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": POSTBOX.host, "port": POSTBOX.port, "timeout": 10},
        }
    }
else:
    EMAIL_HOST, EMAIL_PORT, EMAIL_TIMEOUT = POSTBOX.host, POSTBOX.port, 10

# -- embedq ------------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "embedq.contrib.django",  # makes its tables with `migrate`, and runs workers where the project serves requests
    "django.contrib.staticfiles",
    "django_app.library",
    # Django's interface for tasks is a package of its own before Django 6.
    *([] if find_spec("django.tasks") else ["django_tasks"]),
]
# Jobs are in here too, so that what is enqueued inside `atomic()` is a part of the transaction.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "library.sqlite3",
        # A transaction that reads first and writes later should not fail because a worker has written in between.
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
TASKS = {"default": {"BACKEND": "embedq.contrib.django.tasks.EmbedQBackend", "QUEUES": ["default", "mail"]}}
