"""What the shop does in the background.

Each job may be cut off anywhere, by kill -9 or a power cut, and is then run again from its start. So each looks first
at what an earlier run has done, and writes down what it has done in the transaction that does it.
"""

from __future__ import annotations

import csv
import smtplib
import time
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import tenacity
from flask import current_app

import embedq
from embedq.contrib.flask import EmbedQ
from flask_app.database import database
from postbox import Postbox, may_work_later

TIME_ZONE = ZoneInfo("Europe/Berlin")
LINES_IN_A_BATCH = 20
# A real import would wait for a slow service. Without this, the bar would be full before anyone sees it.
SECONDS_A_BATCH = 0.08

queue = EmbedQ()


def postbox(data: Path) -> Postbox:
    """The shop's mail server."""
    return Postbox(data / "mail", 8025)


# A mail server that is down is tried again after about 1 s, 2 s, 4 s and so on up to ten minutes, for some three hours.
patient = embedq.Retry(
    attempts=25,
    wait=tenacity.wait_exponential_jitter(max=600, jitter=0.5),
    retry=tenacity.retry_if_exception(may_work_later),
)


@queue.job(queue="mail", retry=patient)
def welcome(customer_id: int) -> None:
    """Mail a new customer."""
    # Jobs run in an app context, so this is the function that the views use; the connection is closed after the job.
    db = database()
    customer = db.execute("SELECT * FROM customers WHERE id = ?", (customer_id,)).fetchone()
    if customer is None or customer["greeted_at"]:
        return
    message = EmailMessage()
    message["From"] = "The corner shop <tea@shop.example>"
    message["To"] = customer["email"]
    message["Subject"] = f"Welcome, {customer['name']}"
    # SMTP has no transactions: killed after sending and before the update below, the job would send again. Mail
    # programs show two letters of the same id once.
    message["Message-ID"] = f"<welcome-{customer_id}@shop.example>"
    message.set_content(f"Hello {customer['name']},\n\nthe kettle is on.\n")
    server = current_app.extensions["postbox"]
    # A thread cannot be killed, so sockets need timeouts.
    with smtplib.SMTP(server.host, server.port, timeout=10) as connection:
        connection.send_message(message)
    with db:
        db.execute("UPDATE customers SET greeted_at = ? WHERE id = ?", (datetime.now(UTC).isoformat(), customer_id))


@queue.job(queue="imports")
def import_prices(list_id: int) -> None:
    """Take a price list into the shop, a batch of lines at a time."""
    db, job = database(), embedq.current_job()
    price_list = db.execute("SELECT * FROM price_lists WHERE id = ?", (list_id,)).fetchone()
    lines = products(Path(price_list["path"]))
    # A run after a crash continues where the last batch ended.
    for start in range(price_list["done"], len(lines), LINES_IN_A_BATCH):
        if job.cancelled:  # the process stops; the job goes back to the queue, and on at the next start
            return
        time.sleep(SECONDS_A_BATCH)
        batch = lines[start : start + LINES_IN_A_BATCH]
        good = [line for line in batch if line is not None]
        # The products and how far we are, in one transaction. So each line is taken once, however often this is killed.
        with db:
            db.executemany(
                "INSERT INTO products (sku, name, cents) VALUES (?, ?, ?) ON CONFLICT (sku) "
                "DO UPDATE SET name = excluded.name, cents = excluded.cents, times_priced = times_priced + 1",
                good,
            )
            db.execute(
                "UPDATE price_lists SET done = ?, taken = taken + ? WHERE id = ?",
                (start + len(batch), len(good), list_id),
            )
        job.progress((start + len(batch)) / len(lines), f"{start + len(batch)} of {len(lines)} lines")
    with db:
        db.execute("UPDATE price_lists SET finished = 1 WHERE id = ?", (list_id,))


def products(path: Path) -> list[tuple[str, str, int] | None]:
    """The lines of a price list; None for one that is no product.

    Raises:
        Discard: it is no price list. To try again would not help, so the job is dead at once.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"sku", "name", "price"} <= set(rows.fieldnames or ()):
                raise embedq.Discard("not a price list: its first line must be sku,name,price")
            return [product(row) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise embedq.Discard(f"not a price list: {error}") from error


def product(row: dict[str, str]) -> tuple[str, str, int] | None:
    """A product's number, name and price in cents, if the line contains them."""
    try:
        price = Decimal(row["price"])
        good = row["sku"] and row["name"] and 0 <= price < 1_000_000
    except (InvalidOperation, TypeError):
        return None
    return (row["sku"], row["name"], int(price * 100)) if good else None


@queue.job
def nightly_report() -> None:
    """Write down how the shop stands."""
    db = database()
    [customers] = db.execute("SELECT count(*) FROM customers").fetchone()
    count, cents = db.execute("SELECT count(*), avg(cents) FROM products").fetchone()
    text = f"{customers} customers, {count} products at {(cents or 0) / 100:.2f} on average"
    with db:
        db.execute("INSERT INTO reports (made_at, text) VALUES (?, ?)", (datetime.now(UTC).isoformat(), text))


# At three in the morning by the shop's clock, summer and winter. Here, where every process that loads the app comes by:
# it adds the schedule once, or brings it up to date. A night on which no process ran is made up for by one late report.
queue.recurring("nightly report", "0 3 * * *", nightly_report, timezone=TIME_ZONE.key)
