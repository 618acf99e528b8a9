"""A queue with a bit of everything in it, hostile names and long errors too; the tests in a browser look at it.

python -m tests.dashboard.showcase [URL]       # serve it at http://127.0.0.1:8800/embedq/ until Ctrl-C
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from embedq import Discard, EmbedQ, Limit, Rate, Retry, current_job, every, limit
from embedq.job import JobState

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> \u202eexe.txt {{ 7*7 }}'
SECRET = "tr0ub4dor&3"


@dataclass
class Order:
    id: int
    card_number: str


class Showcase:
    """The functions of a shop, and the jobs that it has enqueued.

    Of them `WAITING` wait under a limit that lets none start.

    Args:
        app: connected, and started where jobs are to run.
    """

    WAITING = 4

    def __init__(self, app: EmbedQ) -> None:
        self.app = app
        self.stop = threading.Event()
        self.failing = True

        @app.job(name="shop.mail:send", queue="mail", tags=["mail"])
        def send(user_id: int, template: str = "welcome", *, password: str = "") -> str:
            current_job().log(f"connected to the mail server for user {user_id}")
            current_job().log(f"said: 250 {HOSTILE}")
            return f"sent {template} to user {user_id}"

        @app.job(name="shop.payments:charge", queue="payments", retry=Retry(attempts=1), priority=5)
        def charge(order: dict[str, Any], amount: float) -> None:
            if self.failing:
                raise ConnectionError(
                    f"could not reach https://bank.example/charge/{order['id']}: timed out after 30 s"
                )

        @app.job(name="shop.images:resize", queue="images", retry=Retry(attempts=5, wait=every_hour))
        def resize(path: str, width: int) -> None:
            raise OSError(
                f"[Errno 28] No space left on device: '{path}' " + "and a long tale of how it came about " * 12
            )

        @app.job(name="shop.reports:build", queue="reports", timeout=600)
        def build(month: str) -> None:
            for step in range(100):
                current_job().progress(step / 100, f"page {step} of 100")
                if step < 4:
                    current_job().log(f"page {step} took {step * 7} ms")
                if self.stop.wait(0.25):
                    return
            # However slow the machine is that looks at it.
            self.stop.wait()

        @app.job(name=f"shop.{HOSTILE}"[:200], queue="<b>bold</b>", tags=[HOSTILE, "vip"], retry=Retry(attempts=1))
        def hostile(text: str) -> None:
            raise Discard(HOSTILE)

        @app.job(name="shop.exports:write", queue="reports", concurrency=Limit(1, per="shop", total=5))
        def write(shop: str, month: str) -> None: ...

        @app.job(name="shop.search:index", queue="default")
        def index(first: int, last: int) -> int:
            return sum(range(first, last))

        self.send, self.charge, self.resize, self.build, self.hostile, self.index, self.write = (
            send, charge, resize, build, hostile, index, write,
        )  # fmt: skip

    def fill(self, *, many: int = 40) -> None:
        """Enqueue, and declare recurring jobs."""
        app = self.app
        app.enqueue_many([self.send.call(user, password=SECRET) for user in range(many)])
        app.enqueue_many([self.index.call(n, n * 1000) for n in range(many // 2)])
        app.enqueue_many(
            [self.charge.call({"id": n, "card_number": "4111 1111", "ok": True}, 9.99 * n) for n in range(12)]
        )
        app.enqueue_many([self.resize.call(f"/srv/uploads/photo-{n}.jpg", 640) for n in range(6)])
        self.hostile.enqueue(HOSTILE)
        self.build.enqueue("2026-05")
        rates = [Rate(60, per=60, burst=5), Rate(1000, per=3600, key="shop")]
        app.set_limit(limit("the openai account", total=25, rate=rates), total=10, actor="ada")
        # No job of the exports starts.
        self.write.enqueue(HOSTILE, "2026-04")
        app.enqueue_many([self.write.call("berlin", f"2026-{month:02}") for month in range(1, self.WAITING)])
        app.set_limit("shop.exports:write", each=0, actor=HOSTILE)
        head = self.index.enqueue(1, 10)
        second = head.then(self.send, 1, "indexed")
        second.then(self.charge, {"id": 99}, 1.0)
        head.then(self.send, 2, "failed", on="failure")
        later = app.enqueue_in(3600, self.send, 77, "reminder")
        later.then(self.index, 5, 6, on="finished")
        app.enqueue_in(86_400 * 3, self.index, 1, 2)
        app.options(queue="mail", tags=["vip"]).enqueue_in(600, self.send, 5).cancel()
        app.recurring("nightly report", "0 4 * * *", self.build, "2026-05", timezone="Europe/Berlin")
        app.recurring("hourly <b>index</b>", "15 * * * *", self.index, 0, 100)
        app.recurring("sync mail", every(minutes=5), self.send, 1)
        app.recurring("charge again", "30 1 * * 1-5", self.charge, {"id": 1}, 5.0, timezone="America/New_York")
        app.recurring("paused one", "0 0 1 1 *", self.index, 0, 1)
        app.pause_recurring("paused one")
        app.trigger_recurring("charge again")

    def settle(self, *, seconds: float = 20.0) -> None:
        """Wait until all that can run has run; one job goes on until `stop` is set."""
        deadline = time.monotonic() + seconds
        while (
            self.app.count_jobs(state=JobState.READY) > self.WAITING or self.app.count_jobs(state=JobState.RUNNING) > 1
        ):
            assert time.monotonic() < deadline, self.app.stats()
            time.sleep(0.02)


def every_hour(state: Any) -> float:
    """A wait between attempts."""
    return timedelta(hours=1).total_seconds()


def make(app: EmbedQ, *, wait: Callable[[Showcase], None] = Showcase.settle) -> Showcase:
    """A started app, filled."""
    show = Showcase(app)
    show.fill()
    app.start()
    wait(show)
    return show


if __name__ == "__main__":
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from embedq import dashboard

    queue = EmbedQ(sys.argv[1] if len(sys.argv) > 1 else "sqlite:////tmp/showcase.db").connect()
    shown = make(queue)
    site = dashboard.asgi(queue, metrics=[dashboard.Metric(title="open orders", value=lambda: 17, hint="in the shop")])
    uvicorn.run(Starlette(routes=[Mount("/embedq", site)]), port=8800, log_level="warning")
    shown.stop.set()
    queue.stop()
