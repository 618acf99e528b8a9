"""embedq in Litestar. See docs/fastapi.md.

@post("/signup/{user_id:int}")
async def signup(user_id: int, queue: Queue) -> dict[str, int]:
    job = await queue.aenqueue(send_mail, user_id)
    return {"job": job.id}

app = Litestar([signup], plugins=[EmbedQPlugin("sqlite:///jobs.db")])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.plugins import InitPlugin

from embedq import EmbedQ
from embedq.contrib.asgi import lifespan, queue_of

# The type of the parameter that receives the application's queue.
Queue: TypeAlias = NamedDependency[EmbedQ]


class EmbedQPlugin(InitPlugin):
    """Runs a queue as long as the application runs, and provides it to handlers.

    It starts after the application's own lifespan managers have been entered, and is drained before they are left.

    Args:
        queue, workers_here, settings: as for `embedq.contrib.asgi.lifespan`.
        dependency: the name of the parameter through which handlers receive the queue.
    Raises:
        ConfigurationError: as for `lifespan`.
    """

    def __init__(
        self,
        queue: EmbedQ | str | Path | None = None,
        *,
        workers_here: bool = True,
        dependency: str = "queue",
        **settings: Any,
    ) -> None:
        self.queue = queue_of(queue, **settings)
        self._workers_here = workers_here
        self._dependency = dependency

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar."""
        guard = self.queue.settings.guard
        if guard is not None:
            app_config.middleware.insert(0, guard.asgi)
        app_config.lifespan.append(lifespan(self.queue, workers_here=self._workers_here))
        app_config.dependencies[self._dependency] = Provide(self._provide, sync_to_thread=False)
        return app_config

    def _provide(self) -> EmbedQ:
        return self.queue
