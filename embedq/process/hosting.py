"""What embedq requires of the web server around this process; where that is missing, an error states what to do.

It requires real threads, and Python's hooks for forks: connections and threads do not survive one. `os.fork`, which
Gunicorn uses, runs the hooks. uWSGI forks in C, and runs them only if it is configured to.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from embedq.errors import ConfigurationError

_STANDARD_ERROR = 2
_NO = ("", "0", "false", "no", "off", "none")


def check_threads() -> None:
    """Check, before threads are started, that there are real threads.

    Raises:
        ConfigurationError: no thread runs in this process, or its threads are greenlets.
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
    """Check, before a database is opened, that Python's hooks run at forks.

    Raises:
        ConfigurationError: workers will be forked from this process without them.
    """
    if before_the_fork_of_uwsgi() and not _given("py-call-uwsgi-fork-hooks"):
        raise ConfigurationError(
            "uWSGI has loaded the application before it forks its workers, and does not run Python's hooks at forks. "
            "Give it --lazy-apps, and each worker loads the application itself; or --py-call-uwsgi-fork-hooks"
        )


def fill_standard_descriptors() -> None:
    """Open the null device as standard input, output and error where they are closed.

    Some daemons are started so. The next files to be opened would get their numbers: a lock file, or the connection to
    the server. Everything that prints would write into them, and started programs would inherit them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def before_the_fork_of_uwsgi() -> bool:
    """Whether uWSGI will fork its workers from this process, which serves no requests and ends abruptly."""
    return under_uwsgi() and _uwsgi().worker_id() == 0 and _uwsgi().masterpid() == os.getpid()


def under_uwsgi() -> bool:
    """Whether uWSGI runs this process; elsewhere its module cannot be imported."""
    return hasattr(_uwsgi(), "masterpid")


def _uwsgi() -> Any:
    return import_module("uwsgi") if "uwsgi" in sys.builtin_module_names else sys.modules.get("uwsgi")


def _uwsgi_has_threads() -> bool:
    # Newer versions have an attribute for it.
    flag = getattr(_uwsgi(), "has_threads", None)
    return any(map(_given, ("enable-threads", "threads"))) if flag is None else bool(flag)


def _given(option: str) -> bool:
    """Whether uWSGI has this option, from its command line or its configuration file."""
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
