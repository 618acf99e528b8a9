"""`embedq pause`, `resume`, `holds` and `quiet`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result

from embedq import EmbedQ
from embedq.cli import main
from tests.support import cli_runner


def run(app: EmbedQ, *arguments: str) -> Result:
    return cli_runner().invoke(main, ["--url", app.settings.url, *arguments], env={"EMBEDQ_URL": None, "NO_COLOR": "1"})


def document(app: EmbedQ, *arguments: str) -> Any:
    result = run(app, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_queue_is_paused_listed_and_resumed(app: EmbedQ) -> None:
    job = app.options(queue="mail").enqueue(print, 1)
    said = run(app, "pause", "--queue", "mail", "--for", "2h", "--reason", "migra\x1btion", "--actor", "ada")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.startswith("queue mail: paused until ")
    [hold] = app.holds()
    assert hold.until is not None
    assert (hold.until - hold.since, hold.actor) == (timedelta(hours=2), "ada")
    listed = run(app, "holds").stdout
    assert "queue mail" in listed
    assert "migra\\x1btion" in listed
    assert "paused     queue mail: embedq holds" in run(app, "stats").stdout
    assert "waits       queue mail is paused by ada until " in run(app, "show", str(job.id)).stdout
    later = app.options(queue="mail").enqueue_in(9000, print, 1)
    assert "paused      queue mail, by ada until " in run(app, "show", str(later.id)).stdout
    assert run(app, "resume", "--queue", "mail").stdout == "queue mail: resumed\n"
    assert run(app, "resume", "--queue", "mail").stdout == "queue mail: was not paused\n"
    assert run(app, "holds").stdout == "nothing is paused\n"


def test_in_json(app: EmbedQ) -> None:
    paused = document(app, "pause", "--task", "shop:send", "--until", "2099-01-01T00:00:00Z")
    assert (paused["kind"], paused["name"], paused["until"]) == ("task", "shop:send", "2099-01-01T00:00:00+00:00")
    everything = document(app, "pause", "--all")
    assert document(app, "holds") == {"holds": [everything, paused]}
    assert document(app, "resume", "--all") == {"resumed": True}
    assert document(app, "resume", "--all") == {"resumed": False}


def test_a_process_is_made_quiet_and_woken(app: EmbedQ) -> None:
    app.start()
    [server] = app.servers()
    name = f"{server.hostname}:{server.pid}"
    assert run(app, "quiet", name, "--reason", "memory").stdout == f"process {name}: paused until resumed\n"
    assert "quiet" in run(app, "servers").stdout
    assert f"process {name}" in run(app, "holds").stdout
    assert run(app, "quiet", str(server.id), "--undo").stdout == f"process {server.id}: resumed\n"
    assert "quiet" not in run(app, "servers").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pause"], "name one of --queue NAME, --task NAME and --all"),
        (["resume", "--queue", "a", "--all"], "name one of"),
        (["pause", "--all", "--for", "soon"], "'soon'; write it like 90s, 30m, 2h or 1d"),
        (["pause", "--all", "--for", "999999999d"], "this is after the year 9999"),
        (["pause", "--all", "--until", "tomorrow"], "'tomorrow'; write it like 2026-06-01T09:00"),
        (["pause", "--all", "--until", "2020-01-01"], "is not in the future"),
        (["pause", "--all", "--until", "2099-01-01", "--for", "1h"], "give --until or --for, not both"),
        (["quiet", "nowhere:1"], "no process 'nowhere:1' runs jobs"),
    ],
)
def test_what_cannot_be_paused_is_refused_with_advice(app: EmbedQ, arguments: list[str], message: str) -> None:
    said = run(app, *arguments)
    assert (said.exit_code, said.stdout) == (2, "")
    assert message in said.stderr
    assert app.holds() == []
