"""When the workers of a Flask app start: as soon as this process is known to serve requests.

Flask does not report it. That the app is loaded proves nothing: the shell, a test, a migration and the reloader's
watching process load it too, and none of them should run jobs. So workers start

    at once               in `flask run` (with a reloader: in the process that serves), and under known servers
    with a request        under any other
    not automatically     in other `flask` commands, and for Flask's test client or while TESTING

"At once" is on a thread, when the process has finished importing: a job should find a complete app, and an app should
start even if its database is not available yet. If no job could ever run, an error is raised before there is a thread:
an app that accepted jobs and ran none would look healthy.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import click
from flask import Flask, request, request_started
from flask.cli import ScriptInfo, run_command
from flask.helpers import get_debug_flag
from werkzeug.serving import is_running_from_reloader

from embedq import ConfigurationError, EmbedQ, StorageError
from embedq.contrib.flask.conf import Autostart
from embedq.observability.log import get_logger
from embedq.process import hosting, job_process, shutdown, supervision

logger = get_logger()

# Modules that are only loaded where their server runs.
SERVERS = ("gunicorn.arbiter", "mod_wsgi", "uwsgi", "waitress.runner")
# Importing has finished when no module has been added for this long.
QUIET_SECONDS = 0.5
# The pause between attempts while the database is not available; each is twice as long as the one before.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Starter:
    """Starts a queue once; if its database is not available, it tries until it is.

    It handles forks as engines do: a process that is forked before the start starts by itself.
    """

    def __init__(self, queue: EmbedQ) -> None:
        self._queue = queue
        self._once = threading.Lock()
        self._trying = False
        self._over = threading.Event()
        shutdown.register(self)

    def watch(self, app: Flask, autostart: Autostart) -> None:
        """Start the queue when the app serves requests.

        Raises:
            ConfigurationError: it would start now, but no job would ever run under this server.
        """
        if autostart is Autostart.NEVER or in_a_command() or job_process.here():
            return
        if autostart is Autostart.NOW or (serves() and not app.testing):
            hosting.check_threads()
            hosting.check_forks()
            self.begin()
        else:
            request_started.connect(self._on_request, app)

    def begin(self) -> None:
        """Start on a thread, soon. A second call changes nothing."""
        if self._once.acquire(blocking=False):
            shutdown.drain_at_exit(on_sigterm=self._queue.settings.sigterm)
            self._trying = True
            supervision.start("embedq-start", self._start_when_quiet)

    def give_up(self) -> None:
        """Stop trying: the application starts and stops the queue from now on."""
        self._once.acquire(blocking=False)
        self._over.set()
        self._trying = False

    def _on_request(self, app: Flask, **_: Any) -> None:
        if not self._once.locked() and not app.testing and not request.user_agent.string.startswith("Werkzeug/"):
            self.begin()

    def _start_when_quiet(self) -> None:
        modules = -1
        while modules != len(sys.modules):
            modules = len(sys.modules)
            if self._over.wait(QUIET_SECONDS):
                return
        self.start()

    def start(self) -> None:
        """Start the queue in this thread, trying again until its database is available."""
        pause = FIRST_PAUSE_SECONDS
        while not self._over.is_set():
            try:
                self._queue.start()
            except StorageError as error:
                logger.error("could not start: %s; the next attempt is in %g s", error, pause)
                self._over.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            except ConfigurationError as error:
                # Such as greenlets in place of threads, under a server that patches after the fork.
                logger.error("no jobs run in this process: %s", error)
            except Exception:
                logger.exception("no jobs run in this process")
            self._trying = False
            return

    def close(self) -> None:
        """Stop trying at the interpreter's exit."""
        self._over.set()

    def after_fork(self) -> None:
        """Start again in a forked process, where there are no threads."""
        self._over = threading.Event()
        if self._trying:
            shutdown.start_again_soon(self)


def in_a_command() -> bool:
    """Whether this is a `flask` command that serves nothing: any but `run`, and `run` when it only watches files."""
    context = click.get_current_context(silent=True)
    if context is None or context.find_object(ScriptInfo) is None:
        return False
    return context.command is not run_command or _watches(context)


def serves() -> bool:
    """Whether this process is known to serve requests."""
    context = click.get_current_context(silent=True)
    under_flask_run = context is not None and context.command is run_command
    return under_flask_run or is_running_from_reloader() or any(name in sys.modules for name in SERVERS)


def _watches(run: click.Context) -> bool:
    reload = run.params.get("reload")
    return (get_debug_flag() if reload is None else bool(reload)) and not is_running_from_reloader()
