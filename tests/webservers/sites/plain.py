"""A Flask app without the extension: embedq is started by the module that makes the app."""

from __future__ import annotations

from flask import Flask

import embedq
from tests.webservers.sites import TASKS

embedq.recurring("tick", embedq.every(seconds=1), TASKS["run"], misfire="all", overlap="allow")
embedq.start(workers=3, stop_timeout=5.0)
app = Flask(__name__)


@app.post("/<task>/<float:seconds>")
def enqueue(task: str, seconds: float) -> str:
    return str(TASKS[task].enqueue(seconds).id)
