"""embedq in FastAPI. See docs/fastapi.md.

app = FastAPI(lifespan=lifespan("sqlite:///jobs.db"))

@app.post("/signup/{user_id}")
async def signup(user_id: int, queue: Queue) -> dict[str, int]:
    job = await queue.aenqueue(send_mail, user_id)
    return {"job": job.id}
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends

from embedq import EmbedQ
from embedq.contrib.asgi import lifespan
from embedq.contrib.starlette import get_queue

# The type of a parameter that receives the application's queue.
Queue: TypeAlias = Annotated[EmbedQ, Depends(get_queue)]

__all__ = ["Queue", "get_queue", "lifespan"]
