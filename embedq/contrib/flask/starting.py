"""When the workers of a Flask app start: as soon as this process is known to serve requests.

Flask does not say so. To load the app proves nothing: the shell, a test, a migration and the reloader's watching
process load it too, and none of them should run jobs. So workers start

    at once               in `flask run` (with a reloader: in the process that serves), and under known servers
    with a request        under any other
    never by themselves   in other `flask` commands, and for Flask's test client or while TESTING

"At once" is on a thread, when the process has done importing: a job should find the app whole, and an app should come
up while its database is not there yet. Where no job could ever run, that is said before there is a thread: an app that
took jobs and ran none would look well.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import click
from flask import Flask, request, request_started
from flask.cli import ScriptInfo, run_command
from flask.helpers import get_debug_flag
from werkzeug.serving import is_running_from_reloader

from embedq import ConfigurationError, EmbedQ, StorageError, hosting, job_process, shutdown
from embedq.contrib.flask.conf import Autostart

logger = logging.getLogger("embedq")

# Modules that are loaded where their server runs, and nowhere else.
SERVERS = ("gunicorn.arbiter", "mod_wsgi", "uwsgi", "waitress.runner")
# Importing is done when no module has been added for so long.
QUIET_SECONDS = 0.5
# Between tries where the database is not there; each is twice as long as the one before.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Starter:
    """Starts a queue, once; where its database is not there, it tries until it is.

    It takes part in forks as engines do: a child that is forked before the start starts by itself.
    """

    def __init__(self, queue: EmbedQ) -> None:
        self._queue = queue
        self._once = threading.Lock()
        self._trying = False
        self._over = threading.Event()
        shutdown.look_after(self)

    def watch(self, app: Flask, autostart: Autostart) -> None:
        """Start the queue when the app serves requests.

        Raises:
            ConfigurationError: it would be now, and under this server no job would ever run.
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
            threading.Thread(target=self._start_when_quiet, name="embedq-start", daemon=True).start()

    def give_up(self) -> None:
        """Somebody else starts or stops the queue from now on."""
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
        """Start the queue, in this thread, however many tries it takes until its database is there."""
        pause = FIRST_PAUSE_SECONDS
        while not self._over.is_set():
            try:
                self._queue.start()
            except StorageError as error:
                logger.error("could not start: %s; the next try is in %g s", error, pause)
                self._over.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            except ConfigurationError as error:
                # Such as greenlets in place of threads, by a server that patches after the fork.
                logger.error("no jobs run in this process: %s", error)
            except Exception:
                logger.exception("no jobs run in this process")
            self._trying = False
            return

    def close(self) -> None:
        """At the interpreter's exit."""
        self._over.set()

    def after_fork(self) -> None:
        """In the child of a fork, where there are no threads."""
        self._over = threading.Event()
        if self._trying:
            shutdown.start_again_soon(self)


def in_a_command() -> bool:
    """Whether this is a `flask` command that serves nothing: any but `run`, and `run` where it only watches files."""
    context = click.get_current_context(silent=True)
    if context is None or context.find_object(ScriptInfo) is None:
        return False
    return context.command is not run_command or _watches(context)


def serves() -> bool:
    """Whether this process can be told to be one that serves requests."""
    context = click.get_current_context(silent=True)
    under_flask_run = context is not None and context.command is run_command
    return under_flask_run or is_running_from_reloader() or any(name in sys.modules for name in SERVERS)


def _watches(run: click.Context) -> bool:
    reload = run.params.get("reload")
    return (get_debug_flag() if reload is None else bool(reload)) and not is_running_from_reloader()
