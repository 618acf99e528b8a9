"""What embedq needs of the web server around this process; where that is not so, it says what to do.

It needs threads, real ones, and it must hear of forks: connections and threads do not cross one. `os.fork`, which
Gunicorn uses, tells everybody. uWSGI forks in C, and tells Python only if it is asked to.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from embedq.errors import ConfigurationError

_NO = ("", "0", "false", "no", "off", "none")


def check_threads() -> None:
    """To be called before threads are started.

    Raises:
        ConfigurationError: in this process no thread runs, or what look like threads are greenlets.
    """
    if under_uwsgi() and not _uwsgi_has_threads():
        raise ConfigurationError("uWSGI runs without threads here, so no job would run: give it --enable-threads")
    for library in ("gevent", "eventlet"):
        if _has_patched_threads(library):
            # A job that computes would stop every request and the heartbeat, and nothing could interrupt it.
            raise ConfigurationError(
                f"{library} has made greenlets of Python's threads, and jobs cannot run in them. Let this process only "
                "enqueue, by embedq.connect() in place of start() (in Flask and Django: autostart False), and run jobs "
                "by `embedq worker`; or take a server with threads, such as gunicorn -k gthread"
            )


def check_forks() -> None:
    """To be called before a database is opened.

    Raises:
        ConfigurationError: workers will be forked from this process, and Python will not be told.
    """
    if before_the_fork_of_uwsgi() and not _given("py-call-uwsgi-fork-hooks"):
        raise ConfigurationError(
            "uWSGI has loaded the application before it forks its workers, and does not tell Python of forks. Give it "
            "--lazy-apps, and each worker loads the application for itself; or --py-call-uwsgi-fork-hooks"
        )


def before_the_fork_of_uwsgi() -> bool:
    """Whether this is a process of uWSGI that its workers will be forked from. It serves nothing, and ends abruptly."""
    return under_uwsgi() and _uwsgi().worker_id() == 0 and _uwsgi().masterpid() == os.getpid()


def under_uwsgi() -> bool:
    """Whether uWSGI runs this process; elsewhere its module cannot be imported."""
    return hasattr(_uwsgi(), "masterpid")


def _uwsgi() -> Any:
    return import_module("uwsgi") if "uwsgi" in sys.builtin_module_names else sys.modules.get("uwsgi")


def _uwsgi_has_threads() -> bool:
    # Newer ones say so.
    said = getattr(_uwsgi(), "has_threads", None)
    return any(map(_given, ("enable-threads", "threads"))) if said is None else bool(said)


def _given(option: str) -> bool:
    """Whether uWSGI has this option, from its command line or its file."""
    options = {_text(name): _text(value) for name, value in _uwsgi().opt.items()}
    return options.get(option, "").lower() not in _NO


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _has_patched_threads(library: str) -> bool:
    if library == "gevent":
        monkey = sys.modules.get("gevent.monkey")
        return monkey is not None and bool(monkey.is_module_patched("threading"))
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))
