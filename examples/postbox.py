"""The mail server of the example apps: a real SMTP server in the app's process, which files its letters in a folder.

It is off until it is switched on, so that a mail can be seen to wait for it. With MAIL_SERVER=host:port in the
environment the apps send through that server instead, and there is nothing to switch.
"""

from __future__ import annotations

import os
import smtplib
import socket
from mailbox import Maildir
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiosmtpd.controller import Controller

# What the forms take for an address.
ADDRESS = r"[A-Za-z0-9_.+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"


class Postbox:
    """Where an app sends its mail.

    Args:
        folder: a Maildir for the letters; made when the first one comes.
        port: where the app's own server listens, on 127.0.0.1.
    Attributes:
        host, port: the server to send through.
        own: whether that is the app's own.
    """

    def __init__(self, folder: Path, port: int) -> None:
        given = os.environ.get("MAIL_SERVER", "")
        host, _, given_port = given.rpartition(":")
        self.own = not given
        self.host = host if given else "127.0.0.1"
        self.port = int(given_port) if given else port
        self._folder = folder
        self._server: Controller | None = None

    @property
    def on(self) -> bool:
        """Whether a server answers."""
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def switch(self) -> None:
        """Switch the app's own server on, or off; it is this process's, and only here can it be switched off."""
        if not self.own:
            return
        if self._server is not None:
            self._server.stop()
            self._server = None
        elif not self.on:
            # Here, so that an app with a real mail server need not have the package.
            from aiosmtpd.controller import Controller
            from aiosmtpd.handlers import Mailbox

            self._server = Controller(Mailbox(self._folder), hostname=self.host, port=self.port)
            self._server.start()

    def subjects(self) -> list[str]:
        """The letters that have come, as `recipient: subject`, the latest first; ten at most."""
        if not self._folder.exists():
            return []
        letters = Maildir(self._folder, create=False)
        # A letter's key begins with the time it came.
        return [f"{letters[key]['To']}: {letters[key]['Subject']}" for key in sorted(letters.keys(), reverse=True)[:10]]


def may_work_later(error: BaseException) -> bool:
    """Whether another try may send the mail: not if the server has said a word that is final, a code from 500 on."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
    elif isinstance(error, smtplib.SMTPResponseException):
        codes = [error.smtp_code]
    else:
        codes = []
    return isinstance(error, OSError) and all(code < 500 for code in codes)
