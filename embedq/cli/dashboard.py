"""`embedq dashboard`: serve the dashboard in a separate process.

    embedq dashboard                               for $EMBEDQ_URL, at http://127.0.0.1:8380
    embedq dashboard --token                       print the token for dashboards of this database
    embedq dashboard --app shop.jobs:queue         with the application's tasks, to enqueue them by name

It runs no jobs.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from typing import TYPE_CHECKING, Any

import click

from embedq.cli.application import configure, load
from embedq.cli.invocation import Invocation, dim, pass_invocation, say, shared_options
from embedq.display.calls import safe
from embedq.errors import ConfigurationError

if TYPE_CHECKING:
    from embedq.app import EmbedQ

PORT = 8380
PASSWORD = "EMBEDQ_DASHBOARD_PASSWORD"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 for all.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="The port; 0 for any free port.",
)
@click.option(
    "--app",
    "target",
    metavar="MODULE[:ATTR]",
    help="Import the application, as for `embedq worker`, so that the API can enqueue its tasks. Without it nothing is "
    "imported.",
)
@click.option("--user", default="admin", show_default=True, help=f"The user name for the password in ${PASSWORD}.")
@click.option("--read-only", is_flag=True, help="Allow no changes.")
@click.option(
    "--token",
    "print_token",
    is_flag=True,
    help="Only print the token for the application's dashboards; with --read-only, for the read-only ones.",
)
@shared_options
@pass_invocation
def dashboard(
    invocation: Invocation, /, host: str, port: int, target: str | None, user: str, read_only: bool, print_token: bool
) -> None:
    """Serve the dashboard until Ctrl-C.

    Without a password it is only available on this machine, at an address that contains a token. With a password, in
    $EMBEDQ_DASHBOARD_PASSWORD, every user must enter it; put a proxy with TLS in front.
    """
    # Imported here: these packages are an extra.
    from embedq import dashboard as web

    try:
        import uvicorn
    except ImportError:
        raise click.UsageError('this command requires uvicorn: pip install "embedq[dashboard]"') from None
    password = os.environ.get(PASSWORD, "")
    if not (print_token or password or _is_loopback(host)):
        raise click.BadParameter(
            f"{safe(host)} is reachable from other machines: set a password in ${PASSWORD}", param_hint="--host"
        )
    app = _app(invocation, target)
    if print_token:
        token = web.token(app, read_only=read_only)
        invocation.emit({"token": token}) if invocation.json else say(token)
        return
    options: dict[str, Any] = {"basic_auth": (user, password)}
    query = ""
    if not password:
        try:
            token = web.token(app, read_only=read_only)
            options = {}
        except ConfigurationError:
            # A random token is enough: no other process has to accept it.
            token = secrets.token_hex(32)
            options = {"token": token}
        query = f"?token={token}"
    site = web.asgi(app, read_only=read_only, **options)
    # The application must receive a proxy's headers about the client unchanged.
    config = uvicorn.Config(site, host=host, port=port, log_level="warning", proxy_headers=False, server_header=False)
    listening = config.bind_socket()
    # The address printed below must work at once.
    listening.listen(config.backlog)
    address, bound = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    say(f"embedq dashboard of {safe(app.settings.database)}")
    say(f"  {dim('open'.ljust(10))}http://{shown}:{bound}/{query}")
    users = f"users with the password of {safe(user)}" if password else "users with this address"
    say(f"  {dim('for'.ljust(10))}{users}")
    say(f"  {dim('stop'.ljust(10))}with Ctrl-C")
    uvicorn.Server(config).run([listening])


def _app(invocation: Invocation, target: str | None) -> EmbedQ:
    """Return the app of the database, or the application's, connected; it is closed when the command ends."""
    if target is None:
        return invocation.open()
    app = load(target)
    configure(app, target, {} if invocation.url is None else {"url": invocation.url})
    if not app.engine.connected:
        app.connect(migrate=False)
    click.get_current_context().call_on_close(app.close)
    return app


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
