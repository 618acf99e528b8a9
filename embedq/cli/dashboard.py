"""`embedq dashboard`: the dashboard in a process of its own, beside an application or far from it.

    embedq dashboard                               of $EMBEDQ_URL, at http://127.0.0.1:8380, for this machine
    embedq dashboard --app shop.jobs:queue         with the application's own tasks, to enqueue them by name

It runs no jobs.
"""

from __future__ import annotations

import os
from typing import Any

import click

from embedq.cli.session import Session, dim, pass_session, say, shared_options
from embedq.cli.worker import configure, load
from embedq.readable import safe

PORT = 8380
PASSWORD = "EMBEDQ_DASHBOARD_PASSWORD"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 for any free one.")
@click.option(
    "--app",
    "target",
    metavar="MODULE[:ATTR]",
    help="Import the application, as for `embedq worker`: then the API can enqueue its tasks. Otherwise nothing is "
    "imported.",
)
@click.option("--user", default="admin", show_default=True, help=f"Who is let in with the password in ${PASSWORD}.")
@click.option("--read-only", is_flag=True, help="Nobody can change anything.")
@shared_options
@pass_session
def dashboard(session: Session, /, host: str, port: int, target: str | None, user: str, read_only: bool) -> None:
    """Serve the dashboard until Ctrl-C.

    Without a password it is open to browsers on this machine only, and listens nowhere else. With one, in
    $EMBEDQ_DASHBOARD_PASSWORD, it asks everybody for it; put a proxy with TLS in front.
    """
    # Imported here: they are an extra.
    from embedq import dashboard as web
    from embedq.dashboard.access import is_loopback_name

    try:
        import uvicorn
    except ImportError:
        raise click.UsageError('this command needs uvicorn: pip install "embedq[dashboard]"') from None
    password = os.environ.get(PASSWORD, "")
    if not password and not is_loopback_name(host):
        raise click.BadParameter(
            f"{safe(host)} can be reached from other machines: set a password in ${PASSWORD}", param_hint="--host"
        )
    if target is None:
        app = session.open()
    else:
        app = load(target)
        configure(app, target, {} if session.url is None else {"url": session.url})
        if not app.engine.connected:
            app.connect(migrate=False)
        click.get_current_context().call_on_close(app.close)
    options: dict[str, Any] = {"basic_auth": (user, password)} if password else {}
    site = web.asgi(app, read_only=read_only, **options)
    # What a proxy says of the client must reach the guard as it came.
    config = uvicorn.Config(site, host=host, port=port, log_level="warning", proxy_headers=False, server_header=False)
    listening = config.bind_socket()
    # Whoever reads the address below may go there at once.
    listening.listen(config.backlog)
    address, bound = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    say(f"embedq dashboard of {safe(app.settings.database)}")
    say(f"  {dim('open'.ljust(10))}http://{shown}:{bound}/")
    say(f"  {dim('for'.ljust(10))}{f'who knows the password of {safe(user)}' if password else 'this machine only'}")
    say(f"  {dim('stop'.ljust(10))}with Ctrl-C")
    uvicorn.Server(config).run([listening])
