"""`embedq stats`, `servers` and `migrate`: the queue as a whole."""

from __future__ import annotations

from datetime import datetime

import click

from embedq.cli.invocation import (
    Invocation,
    counted,
    dim,
    hint,
    now_of,
    pass_invocation,
    say,
    shared_options,
    table,
)
from embedq.cli.states import coloured
from embedq.cli.text import clip, relative, safe, span
from embedq.clock import DAMAGED
from embedq.display.json_values import as_json
from embedq.job import Ending, JobState
from embedq.storage.inspect import COUNT_CAP, Server, Stats

# Longer than the default lease: its jobs are about to be rescued, or no process is there to do it.
SILENT_SECONDS = 30
SHOWN_QUEUES = 10

_MEANINGS = {
    JobState.AWAITING: "waiting for the parent job",
    JobState.SCHEDULED: "not due yet",
    JobState.READY: "due; waiting for a free worker",
    JobState.RUNNING: "",
    JobState.RETRYING: "failed; will run again",
    JobState.PARKED: "no process can run them, or paused",
    JobState.SUCCEEDED: "",
    JobState.DEAD: "failed permanently: embedq jobs --state dead",
    JobState.CANCELLED: "",
}


@click.command()
@shared_options
@pass_invocation
def stats(invocation: Invocation) -> None:
    """Show the queue at a glance.

    Jobs by state, the oldest waiting jobs, and the last hour.
    """
    app = invocation.open()
    found, servers = app.stats(), app.servers()
    if invocation.json:
        invocation.emit(
            {
                "counts": {state.value: found.counts[state] for state in JobState},
                "counts_stop_at": COUNT_CAP,
                "oldest_ready_seconds": found.oldest_ready_seconds,
                "last_hour": {ending.value: found.last_hour.get(ending, 0) for ending in Ending},
                "servers": len(servers),
                "workers": sum(server.workers for server in servers),
                "running": sum(server.running for server in servers),
            }
        )
        return
    say(table(["STATE", "JOBS", ""], [_count(found, state) for state in _MEANINGS], right=[1]))
    _waiting(found)
    say()
    say(f"last hour  {_last_hour(found)}")
    say(f"workers    {_workers(servers)}")
    if paused := app.holds():
        say(f"paused     {clip(safe(', '.join(map(str, paused))), 80)}: embedq holds")
    if not servers and (found.counts[JobState.READY] or found.counts[JobState.SCHEDULED]):
        hint("no job runs until a process calls embedq.start(), or: embedq worker --app MODULE")


def _last_hour(found: Stats) -> str:
    endings = [f"{count:,} {ending}" for ending in Ending if (count := found.last_hour.get(ending, 0))]
    if not endings:
        return "nothing ran"
    return f"{counted(sum(found.last_hour.values()), 'attempt')}: {', '.join(endings)}"


def _count(found: Stats, state: JobState) -> list[str]:
    number = found.counts[state]
    text = f"{number:,}{'+' if number >= COUNT_CAP else ''}"
    if not number:
        return [dim(state.value), dim(text), ""]
    return [coloured(state), text, dim(_MEANINGS[state])]


def _waiting(found: Stats) -> None:
    if not found.oldest_ready_seconds:
        return
    say()
    oldest = sorted(found.oldest_ready_seconds.items(), key=lambda item: -item[1])
    rows = [[clip(safe(queue), 40), span(seconds)] for queue, seconds in oldest[:SHOWN_QUEUES]]
    say(table(["QUEUE", "OLDEST WAIT"], rows))
    if len(oldest) > SHOWN_QUEUES:
        hint(f"and {len(oldest) - SHOWN_QUEUES} more queues")


def _workers(servers: list[Server]) -> str:
    if not servers:
        return "no process runs jobs"
    processes = f"{len(servers)} process{'' if len(servers) == 1 else 'es'}"
    threads = counted(sum(server.workers for server in servers), "thread")
    return f"{processes}, {threads}, {counted(sum(server.running for server in servers), 'job')} running"


@click.command()
@shared_options
@pass_invocation
def servers(invocation: Invocation) -> None:
    """List the processes that run jobs."""
    app = invocation.open()
    found = app.servers()
    if invocation.json:
        documents = as_json(found)
        for document in documents:
            del document["restarts"]
        invocation.emit({"servers": documents})
    elif not found:
        say("no process runs jobs")
    else:
        now = now_of(app)
        quiet = {hold.name for hold in app.holds()}
        rows = [
            [
                str(server.id), clip(safe(server.hostname), 24), str(server.pid), str(server.workers),
                str(server.running), _queues_of(server),
                span((now - server.started_at).total_seconds()), server.version,
                _state(server, now, quiet=server.uuid in quiet),
            ]
            for server in found
        ]  # fmt: skip
        headers = ["ID", "HOST", "PID", "THREADS", "RUNNING", "QUEUES", "UP", "VERSION", ""]
        say(table(headers, rows, right=[0, 2, 3, 4]))


def _state(server: Server, now: datetime, *, quiet: bool) -> str:
    parts = [click.style("leader", fg="green")] if server.leader else []
    if quiet:
        parts.append(click.style("quiet", fg="yellow"))
    if server.stopping:
        parts.append(click.style("stopping", fg="yellow"))
    if (now - server.heartbeat_at).total_seconds() > SILENT_SECONDS:
        parts.append(click.style(f"last seen {relative(server.heartbeat_at, now)}", fg="red"))
    return ", ".join(parts)


def _queues_of(server: Server) -> str:
    if server.queues is None:
        return "all"
    return clip(safe(", ".join(server.queues)), 24) if server.queues else DAMAGED


@click.command()
@shared_options
@pass_invocation
def migrate(invocation: Invocation) -> None:
    """Create the database, or update its schema. Every start does this, too."""
    app = invocation.app()
    url = app.settings.database
    applied = app.migrate()
    # The file may have existed without tables.
    existed = "schema_0001" not in applied
    if invocation.json:
        invocation.emit({"url": url, "created": not existed, "applied": applied})
    elif applied:
        say(f"{safe(url)}: {'applied' if existed else 'created with'} {', '.join(applied)}")
    else:
        say(f"{safe(url)} is up to date")
