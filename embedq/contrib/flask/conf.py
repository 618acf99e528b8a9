"""The keys of `app.config` that begin with EMBEDQ_: every field of `embedq.Settings`, and EMBEDQ_AUTOSTART."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import is_running_from_reloader

from embedq.config import DEFAULT_URL, Settings, scheme_of, sqlite_path
from embedq.errors import ConfigurationError

PREFIX = "EMBEDQ_"
AUTOSTART = f"{PREFIX}AUTOSTART"
# When a source file changes, the reloader waits for the old process: not for as long as a deployment would.
RELOAD_STOP_SECONDS = 2.0


class Autostart(Enum):
    """Where workers start by themselves."""

    NEVER = False
    SERVING = True
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfig:
    """What an app's config says: `settings` are keywords for `embedq.EmbedQ.configure`."""

    autostart: Autostart
    settings: dict[str, Any]

    @classmethod
    def read(cls, app: Flask) -> AppConfig:
        """From `app.config`; the environment's EMBEDQ_… variables come second, as elsewhere.

        Raises:
            ConfigurationError: an unknown key, or a value that cannot work.
        """
        settings = {key[len(PREFIX) :].lower(): value for key, value in app.config.items() if key.startswith(PREFIX)}
        autostart = as_autostart(settings.pop("autostart", None))
        known = {item.name for item in fields(Settings)}
        for name in settings:
            if name not in known:
                near = get_close_matches(name, all_names := sorted({*known, "autostart"}), n=1)
                advice = f"did you mean {_key(near[0])}?" if near else f"there are: {', '.join(map(_key, all_names))}"
                raise ConfigurationError(f"app.config has {_key(name)}, which embedq does not know; {advice}")
        settings["url"] = _anchored(app, settings.get("url"))
        if is_running_from_reloader():
            settings.setdefault("stop_timeout", RELOAD_STOP_SECONDS)
        return cls(autostart=autostart, settings=settings)


def _key(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def as_autostart(value: Any) -> Autostart:
    """A value of EMBEDQ_AUTOSTART, which may come from the environment as text.

    Raises:
        ConfigurationError: it is none.
    """
    if value is None:
        value = os.environ.get(AUTOSTART) or True
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value.lower())
    try:
        return Autostart(value)
    except ValueError:
        raise ConfigurationError(f'{AUTOSTART}={value!r} must be True, False or "now"') from None


def _anchored(app: Flask, url: Any) -> Any:
    """The URL, a relative SQLite file being in the instance folder, wherever the process was started.

    So it is in Flask-SQLAlchemy. A URL from the environment stays as it is: the `embedq` command reads it too.
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
