"""What `manage.py check` has to say about embedq."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from embedq.config import Settings
from embedq.contrib.django.addresses import database_url
from embedq.contrib.django.conf import ProjectSettings
from embedq.errors import ConfigurationError


def check_project(**_: Any) -> list[CheckMessage]:
    """E001: EMBEDQ cannot work. W001: SQLite will answer "database is locked"."""
    try:
        project = ProjectSettings.read()
        url = project.url or database_url(project.database)
        Settings.gather({**project.fields, "url": url})
    except ConfigurationError as error:
        return [Error(str(error), id="embedq.E001")]
    if project.url is None and connections[project.database].vendor == "sqlite":
        options = connections.settings[project.database].get("OPTIONS") or {}
        if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
            return [
                Warning(
                    f"DATABASES[{project.database!r}] begins its transactions in SQLite's deferred mode. One that "
                    'reads before it writes then fails with "database is locked" whenever another thread, such as a '
                    "worker, has written in between.",
                    hint='Set "OPTIONS": {"transaction_mode": "IMMEDIATE"} there, or give jobs a file of their own: '
                    'EMBEDQ = {"url": "sqlite:////var/lib/shop/jobs.db"}.',
                    id="embedq.W001",
                )
            ]
    return []
