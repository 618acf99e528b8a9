"""A Flask app that runs no jobs: they run in a process of their own."""

from __future__ import annotations

from flask import Flask

import embedq
from tests.webservers.sites import TASKS

embedq.connect()
app = Flask(__name__)


@app.post("/<task>/<float:seconds>")
def enqueue(task: str, seconds: float) -> str:
    return str(TASKS[task].enqueue(seconds).id)
