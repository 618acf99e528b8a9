"""The keys of `app.config` that begin with EMBEDQ_: every field of `embedq.Settings`, and EMBEDQ_AUTOSTART."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import is_running_from_reloader

from embedq.config import DEFAULT_URL, Settings, scheme_of, sqlite_path
from embedq.errors import ConfigurationError
from embedq.storage.engines import is_engine

PREFIX = "EMBEDQ_"
AUTOSTART = f"{PREFIX}AUTOSTART"
# When a source file changes, the reloader waits for the old process, but not as long as a deployment would.
RELOAD_STOP_SECONDS = 2.0


class Autostart(Enum):
    """Where workers start automatically."""

    NEVER = False
    SERVING = True
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfig:
    """The settings in an app's config: `settings` are keywords for `embedq.EmbedQ.configure`.

    Attributes:
        apart: the URL is of a database in memory, in a test; the jobs are in a file of the test's own.
    """

    autostart: Autostart
    settings: dict[str, Any]
    apart: bool

    @classmethod
    def read(cls, app: Flask) -> AppConfig:
        """Read them from `app.config`, then from the environment's EMBEDQ_… variables, as elsewhere.

        Raises:
            ConfigurationError: an unknown key, or an invalid value.
        """
        settings = {key[len(PREFIX) :].lower(): value for key, value in app.config.items() if key.startswith(PREFIX)}
        autostart = as_autostart(settings.pop("autostart", None))
        known = {*(item.name for item in fields(Settings)), "default_options"}
        for name in settings:
            if name not in known:
                near = get_close_matches(name, all_names := sorted({*known, "autostart"}), n=1)
                advice = f"did you mean {_key(near[0])}?" if near else f"there are: {', '.join(map(_key, all_names))}"
                raise ConfigurationError(f"app.config has {_key(name)}, which is not a setting of embedq; {advice}")
        apart = in_memory(settings.get("url"))
        settings["url"] = _scratch(app) if apart else _anchored(app, settings.get("url"))
        if is_running_from_reloader() and not os.environ.get(f"{PREFIX}STOP_TIMEOUT"):
            settings.setdefault("stop_timeout", RELOAD_STOP_SECONDS)
        return cls(autostart=autostart, settings=settings, apart=apart)


def _key(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def as_autostart(value: Any) -> Autostart:
    """Read a value of EMBEDQ_AUTOSTART, which may come from the environment as text.

    Raises:
        ConfigurationError: it is not one.
    """
    if value is None:
        value = os.environ.get(AUTOSTART) or True
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value.lower())
    try:
        return Autostart(value)
    except ValueError:
        raise ConfigurationError(f'{AUTOSTART}={value!r} must be True, False or "now"') from None


def in_memory(url: Any) -> bool:
    """Whether a URL, or an engine of SQLAlchemy, is for SQLite in memory, as Flask-SQLAlchemy has it in tests."""
    if is_engine(url):
        return url.dialect.name == "sqlite" and (url.url.database or ":memory:").endswith(":memory:")
    return isinstance(url, str) and url in ("sqlite://", "sqlite:///", "sqlite:///:memory:")


def _scratch(app: Flask) -> Path:
    """Return a file of the test's own, in place of memory, which workers cannot share; it is removed with the app.

    Raises:
        ConfigurationError: this is not a test, and jobs must outlive the process.
    """
    if not app.testing:
        raise ConfigurationError(
            f"{_key('url')} is in memory, but jobs must outlive the process: name a file, sqlite:///jobs.db. In a test "
            'set app.config["TESTING"] = True before init_app, and jobs are in a file of the test\'s own'
        )
    folder = Path(tempfile.mkdtemp(prefix="embedq-tests-"))
    weakref.finalize(app, shutil.rmtree, folder, ignore_errors=True)
    return folder / "jobs.db"


def _anchored(app: Flask, url: Any) -> Any:
    """Return the URL; a relative SQLite file is in the instance folder, wherever the process was started.

    As in Flask-SQLAlchemy. A URL from the environment stays as it is: the `embedq` command reads it too.
    """
    if not url:
        if os.environ.get(f"{PREFIX}URL"):
            return None
        url = DEFAULT_URL
    if isinstance(url, str):
        if scheme_of(url) != "sqlite":
            return url
        url = sqlite_path(url)
    if not isinstance(url, Path) or url.is_absolute():
        return url
    folder = Path(app.instance_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / url
