"""A FastAPI app: workers start and end with its lifespan."""

from __future__ import annotations

import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

import embedq
from embedq.contrib.fastapi import lifespan
from tests.webservers.sites import TASKS

embedq.recurring("tick", embedq.every(seconds=1), TASKS["run"], misfire="all", overlap="allow")
app = FastAPI(lifespan=lifespan(os.environ["EMBEDQ_URL"], workers=3, stop_timeout=5.0))


@app.post("/{task}/{seconds}", response_class=PlainTextResponse)
async def enqueue(task: str, seconds: float) -> str:
    job = await TASKS[task].aenqueue(seconds)
    return str(job.id)
