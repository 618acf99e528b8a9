"""A Litestar app with the plugin."""

from __future__ import annotations

import os

from litestar import Litestar, MediaType, post
from litestar.params import FromPath

import embedq
from embedq.contrib.litestar import EmbedQPlugin
from tests.webservers.sites import TASKS

embedq.recurring("tick", embedq.every(seconds=1), TASKS["run"], misfire="all", overlap="allow")


@post("/{task:str}/{seconds:float}", media_type=MediaType.TEXT, status_code=200)
async def enqueue(task: FromPath[str], seconds: FromPath[float]) -> str:
    job = await TASKS[task].aenqueue(seconds)
    return str(job.id)


app = Litestar([enqueue], plugins=[EmbedQPlugin(os.environ["EMBEDQ_URL"], workers=3, stop_timeout=5.0)])
