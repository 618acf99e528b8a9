"""A Starlette app: workers start and end with its lifespan."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import embedq
from embedq.contrib.starlette import lifespan
from tests.webservers.sites import TASKS

embedq.recurring("tick", embedq.every(seconds=1), TASKS["run"], misfire="all", overlap="allow")


async def enqueue(request: Request) -> PlainTextResponse:
    job = await TASKS[request.path_params["task"]].aenqueue(request.path_params["seconds"])
    return PlainTextResponse(str(job.id))


app = Starlette(
    routes=[Route("/{task}/{seconds:float}", enqueue, methods=["POST"])],
    lifespan=lifespan(os.environ["EMBEDQ_URL"], workers=3, stop_timeout=5.0),
)
