"""The weather club, a FastAPI app: its mail, its readings and its nightly report are asynchronous jobs.

    uvicorn --app-dir examples fastapi_app:app

Handlers and jobs are `async def`, and share one SQLAlchemy AsyncSession each with embedq. Read the handlers here, then
`jobs.py`, then `models.py`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from fastapi import FastAPI, Form, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

import embedq
from embedq import EmbedQ, Job, JobNotFoundError
from embedq.contrib.fastapi import Queue, lifespan
from fastapi_app.jobs import REPORT, TIME_ZONE, import_readings, postbox, welcome
from fastapi_app.models import DATA, Member, Report, Session, Upload, engine, tables
from postbox import ADDRESS

FOLDER = Path(__file__).parent
templates = Jinja2Templates(FOLDER / "templates")
# Workers start with the app and are drained at its end. `tables` is a lifespan of the app's own, around that.
# The engine is the app's own, so jobs are in its database, and can be a part of its transactions.
app = FastAPI(title="The weather club", lifespan=lifespan(embedq.default_app().configure(engine), within=tables))
app.mount("/static", StaticFiles(directory=FOLDER.parent / "static"), name="static")


@app.get("/", response_class=HTMLResponse)
async def index(request: Request) -> HTMLResponse:
    """The page. A script reads the parts that change from /status."""
    return page(request)


@app.post("/signup")
async def signup(
    name: Annotated[str, Form(min_length=1, max_length=80, pattern=r"^[^\r\n]+$")],
    email: Annotated[str, Form(pattern=f"^{ADDRESS}$")],
) -> RedirectResponse:
    """A new member, and the mail to them: both, or neither."""
    # In the block `aenqueue` writes through the session: the job is there when the session commits, and not before.
    async with Session.begin() as session:
        with embedq.transaction(session):
            member = Member(name=name, email=email)
            session.add(member)
            try:
                await session.flush()  # so that it has its id
            except IntegrityError:
                raise HTTPException(400, f"{email} is a member already.") from None
            member.job = (await welcome.aenqueue(member.id)).id
    return RedirectResponse("/", 303)


@app.post("/upload")
async def upload(file: UploadFile) -> RedirectResponse:
    """Readings. The request only keeps the file; a job reads it."""
    if not file.filename or (file.size or 0) > 5_000_000:
        raise HTTPException(400, "Choose a file of 5 MB at most.")
    # The file before its row: a job never looks for a file that is not there yet.
    path = DATA / "uploads" / f"{uuid4()}.csv"
    content = await file.read()
    await asyncio.to_thread(path.write_bytes, content)
    async with Session.begin() as session:
        with embedq.transaction(session):
            row = Upload(name=Path(file.filename).name, path=str(path))
            session.add(row)
            await session.flush()
            row.job = (await import_readings.aenqueue(row.id)).id
    return RedirectResponse("/", 303)


@app.post("/report")
def report(queue: Queue) -> RedirectResponse:
    """Run the nightly report now, besides its schedule."""
    # `trigger_recurring` has no awaitable form and waits for the disk, so this is a `def`: FastAPI gives it a thread.
    queue.trigger_recurring(REPORT)
    return RedirectResponse("/", 303)


@app.post("/postbox")
def switch_postbox() -> RedirectResponse:
    """Switch the mail server of the example on or off."""
    postbox.switch()
    return RedirectResponse("/", 303)


@app.get("/sample.csv", response_class=PlainTextResponse)
async def sample() -> str:
    """Readings to try it with."""
    return "station,degrees\n" + "".join(f"Hill {number % 7},{number * 37 % 300 / 10}\n" for number in range(2000))


@app.get("/status")
async def status(queue: Queue) -> dict[str, Any]:
    """What the page shows."""
    async with Session() as session:
        members = (await session.scalars(select(Member).order_by(Member.id.desc()).limit(6))).all()
        uploads = (await session.scalars(select(Upload).order_by(Upload.id.desc()).limit(6))).all()
        latest = await session.scalar(select(Report).order_by(Report.id.desc()).limit(1))
    # Reading the queue waits for the disk too: not in the event loop.
    jobs = await asyncio.to_thread(stored, queue, [*(row.job for row in members), *(row.job for row in uploads)])
    return {
        "members": [{"name": member.name, **mail_state(member, jobs[member.job])} for member in members],
        "uploads": [{"name": row.name, **upload_state(row, jobs[row.job])} for row in uploads],
        "report": {"text": latest.text if latest else "", **await asyncio.to_thread(report_state, queue)},
        "letters": await asyncio.to_thread(postbox.subjects),
        "postbox": await asyncio.to_thread(lambda: postbox.on),
    }


def stored(queue: EmbedQ, job_ids: list[int]) -> dict[int, Job | None]:
    """What is stored of jobs. None for one that is no longer kept: a day after its success."""
    found: dict[int, Job | None] = {}
    for job_id in job_ids:
        try:
            found[job_id] = queue.job(job_id).snapshot()
        except JobNotFoundError:
            found[job_id] = None
    return found


def mail_state(member: Member, job: Job | None) -> dict[str, Any]:
    """How far the mail to a member is."""
    if member.greeted_at:
        return {"state": "mail sent"}
    if job is None:
        return {"state": "no mail was sent", "bad": True}
    if job.state == "dead":
        return {"state": f"given up: {job.error}", "bad": True}
    if job.error:
        at = f"{job.run_at.astimezone(TIME_ZONE):%H:%M:%S}"
        return {"state": f"try {job.attempt} failed, next at {at}: {job.error}", "bad": True}
    return {"state": "mail on its way"}


def upload_state(row: Upload, job: Job | None) -> dict[str, Any]:
    """How far an upload is."""
    crashed = {"crashed": "continued after a crash"} if job and job.crashes else {}
    if row.finished:
        return {"state": f"done: {row.taken} lines taken, {row.done - row.taken} refused", **crashed}
    if job is None or job.state == "dead":
        return {"state": f"failed: {job.error if job else 'its job is gone'}", "bad": True, **crashed}
    return {"progress": job.progress or 0.0, "state": job.progress_note or "waiting", **crashed}


def report_state(queue: EmbedQ) -> dict[str, str]:
    """When the report ran, and when it will."""
    last = next(iter(queue.jobs(schedule=REPORT, limit=1)), None)
    schedule = next((one for one in queue.schedules() if one.name == REPORT), None)
    return {
        "last": f"{last.created_at.astimezone(TIME_ZONE):%d %b %H:%M:%S}, {last.state}" if last else "never",
        "next": f"{schedule.next_fire_at.astimezone(TIME_ZONE):%d %b %H:%M:%S}" if schedule else "never",
    }


def page(request: Request, error: str = "", code: int = 200) -> HTMLResponse:
    """The page, with a word on what could not be."""
    return templates.TemplateResponse(
        request, "index.html", {"error": error, "own_postbox": postbox.own}, status_code=code
    )


@app.exception_handler(RequestValidationError)
async def refuse_form(request: Request, error: RequestValidationError) -> HTMLResponse:
    """A form that FastAPI does not take."""
    fields = ", ".join(str(one["loc"][-1]) for one in error.errors())
    return page(request, f"This cannot be right: {fields}.", 400)


@app.exception_handler(HTTPException)
async def refuse(request: Request, error: HTTPException) -> HTMLResponse:
    """What a handler does not take."""
    return page(request, error.detail, error.status_code)
