"""A Flask app with the extension."""

from __future__ import annotations

from flask import Flask

import embedq
from embedq.contrib.flask import EmbedQ
from tests.webservers.sites import TASKS

# The jobs are declared with the module's functions, so its queue is the app's.
queue = EmbedQ(queue=embedq.default_app())
queue.recurring("tick", embedq.every(seconds=1), TASKS["run"], misfire="all", overlap="allow")
app = Flask(__name__)
app.config["EMBEDQ_WORKERS"] = 3
queue.init_app(app)


@app.post("/<task>/<float:seconds>")
def enqueue(task: str, seconds: float) -> str:
    return str(TASKS[task].enqueue(seconds).id)
