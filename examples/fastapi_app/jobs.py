"""What the club does in the background.

`async def` jobs run on an event loop of embedq's, a hundred at a time: what waits costs no thread.

Each may be cut off anywhere, by kill -9 or a power cut, and is then run again from its start. So each looks first at
what an earlier run has done, and writes down what it has done in the transaction that does it.
"""

from __future__ import annotations

import asyncio
import csv
import math
import smtplib
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import tenacity
from sqlalchemy import func, select, update

import embedq
from fastapi_app.models import DATA, Member, Reading, Report, Session, Upload
from postbox import Postbox, may_work_later

TIME_ZONE = ZoneInfo("Europe/Berlin")
REPORT = "nightly report"
LINES_IN_A_BATCH = 20
# A real import would wait for a slow service. Without this, the bar would be full before anyone sees it.
SECONDS_A_BATCH = 0.08

postbox = Postbox(DATA / "mail", 8026)

# A mail server that is down is tried again after about 1 s, 2 s, 4 s and so on up to ten minutes, for some three hours.
patient = embedq.Retry(
    attempts=25,
    wait=tenacity.wait_exponential_jitter(max=600, jitter=0.5),
    retry=tenacity.retry_if_exception(may_work_later),
)


@embedq.job(queue="mail", retry=patient)
async def welcome(member_id: int) -> None:
    """Mail a new member."""
    async with Session() as session:
        member = await session.get(Member, member_id)
    if member is None or member.greeted_at:
        return
    message = EmailMessage()
    message["From"] = "The weather club <club@weather.example>"
    message["To"] = member.email
    message["Subject"] = f"Welcome, {member.name}"
    # SMTP has no transactions: killed after sending and before the update below, the job would send again. Mail
    # programs show two letters of the same id once.
    message["Message-ID"] = f"<welcome-{member_id}@weather.example>"
    message.set_content(f"Hello {member.name},\n\nit will be sunny.\n")
    # smtplib blocks, so it has a thread, and the other jobs of the loop are not blocked.
    await asyncio.to_thread(send, message)
    async with Session.begin() as session:
        await session.execute(update(Member).where(Member.id == member_id).values(greeted_at=datetime.now(UTC)))


def send(message: EmailMessage) -> None:
    """Hand a letter to the mail server."""
    with smtplib.SMTP(postbox.host, postbox.port, timeout=10) as connection:
        connection.send_message(message)


@embedq.job(queue="imports")
async def import_readings(upload_id: int) -> None:
    """Take the readings of an upload, a batch of lines at a time."""
    job = embedq.current_job()
    async with Session() as session:
        upload = await session.get_one(Upload, upload_id)
    lines = await asyncio.to_thread(readings, Path(upload.path))
    # A run after a crash continues where the last batch ended.
    for start in range(upload.done, len(lines), LINES_IN_A_BATCH):
        if job.cancelled:  # the process stops; the job goes back to the queue, and on at the next start
            return
        await asyncio.sleep(SECONDS_A_BATCH)
        batch = lines[start : start + LINES_IN_A_BATCH]
        good = [Reading(station=line[0], degrees=line[1]) for line in batch if line is not None]
        done = start + len(batch)
        # The readings and how far we are, in one transaction. So each line is taken once, however often this is killed.
        async with Session.begin() as session:
            session.add_all(good)
            await session.execute(
                update(Upload).where(Upload.id == upload_id).values(done=done, taken=Upload.taken + len(good))
            )
        job.progress(done / len(lines), f"{done} of {len(lines)} lines")
    async with Session.begin() as session:
        await session.execute(update(Upload).where(Upload.id == upload_id).values(finished=True))


def readings(path: Path) -> list[tuple[str, float] | None]:
    """The lines of an upload; None for one that is no reading.

    Raises:
        Discard: it holds no readings. To try again would not help, so the job is dead at once.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"station", "degrees"} <= set(rows.fieldnames or ()):
                raise embedq.Discard("no readings: the first line must be station,degrees")
            return [reading(row) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise embedq.Discard(f"no readings: {error}") from error


def reading(row: dict[str, str]) -> tuple[str, float] | None:
    """A station and its degrees, if the line contains them."""
    try:
        degrees = float(row["degrees"])
    except (TypeError, ValueError):
        return None
    return (row["station"], degrees) if row["station"] and math.isfinite(degrees) else None


@embedq.job
async def nightly_report() -> None:
    """Write down how the weather was."""
    async with Session.begin() as session:
        members = await session.scalar(select(func.count()).select_from(Member))
        count, mean = (await session.execute(select(func.count(), func.avg(Reading.degrees)))).one()
    text = f"{members} members, {count} readings, {mean or 0:.1f} degrees on average"
    async with Session.begin() as session:
        session.add(Report(made_at=datetime.now(UTC), text=text))


# At three in the morning by the club's clock, summer and winter. Here, where every process that loads the app comes by:
# it adds the schedule once, or brings it up to date. A night on which no process ran is made up for by one late report.
embedq.recurring(REPORT, "0 3 * * *", nightly_report, timezone=TIME_ZONE.key)
