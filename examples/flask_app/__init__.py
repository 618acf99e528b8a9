"""The corner shop, a Flask app: its mail, its price lists and its nightly report are background jobs.

    flask --app examples/flask_app run

Everything, the jobs too, is in one SQLite file, so that a customer and the mail to them are one transaction. Read the
views here, then `jobs.py`, then `database.py`.
"""

from __future__ import annotations

import os
import re
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from embedq import Job, JobNotFoundError
from flask_app.database import close_database, create_tables, database
from flask_app.jobs import TIME_ZONE, import_prices, postbox, queue, welcome
from postbox import ADDRESS

FOLDER = Path(__file__).parent
views = Blueprint("shop", __name__)


def create_app() -> Flask:
    """The app. Nothing runs yet: workers start when it serves requests, and not in `flask shell`."""
    data = Path(os.environ.get("EXAMPLE_DATA", FOLDER / "data")).resolve()
    app = Flask(__name__, instance_path=str(data), static_folder=FOLDER.parent / "static")
    # The app's own file, so that its rows and its jobs can be one transaction.
    app.config.update(DATABASE=data / "shop.db", EMBEDQ_URL=data / "shop.db", MAX_CONTENT_LENGTH=5_000_000)
    app.extensions["postbox"] = postbox(data)
    create_tables(app.config["DATABASE"])
    app.teardown_appcontext(close_database)
    app.add_template_filter(clock_time)
    app.register_blueprint(views)
    queue.init_app(app)
    return app


@views.get("/")
def index(error: str = "") -> str:
    """The page."""
    return render_template("index.html", error=error, **overview())


@views.get("/live")
def live() -> str:
    """The part of the page that changes. The page loads it every half second."""
    return render_template("live.html", **overview())


@views.post("/signup")
def signup() -> AnyResponse | tuple[str, int]:
    """A new customer, and the mail to them: both, or neither."""
    name, email = " ".join(request.form.get("name", "").split()), request.form.get("email", "").strip()
    if not 0 < len(name) <= 80 or not re.fullmatch(ADDRESS, email):
        return index("Give a name, and an address such as ada@shop.example."), 400
    db = database()
    try:
        # `with db` commits at its end, or rolls back; what is enqueued meanwhile goes through the same connection.
        # A crash before the commit leaves neither, one after it both, and the mail is sent after the restart.
        with db, queue.transaction(db):
            customer = db.execute("INSERT INTO customers (name, email) VALUES (?, ?)", (name, email)).lastrowid
            assert customer is not None
            job = welcome.enqueue(customer)
            db.execute("UPDATE customers SET job = ? WHERE id = ?", (job.id, customer))
    except sqlite3.IntegrityError:
        return index(f"{email} is a customer already."), 400
    return redirect(url_for("shop.index"), 303)


@views.post("/upload")
def upload() -> AnyResponse | tuple[str, int]:
    """A price list. The request only keeps the file; a job reads it."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return index("Choose a file."), 400
    # The file before its row: a job never looks for a file that is not there yet.
    path = Path(current_app.instance_path, "uploads", f"{uuid4()}.csv")
    path.parent.mkdir(exist_ok=True)
    file.save(path)
    db = database()
    with db, queue.transaction(db):
        name = Path(file.filename).name
        list_id = db.execute("INSERT INTO price_lists (name, path) VALUES (?, ?)", (name, str(path))).lastrowid
        assert list_id is not None
        job = import_prices.enqueue(list_id)
        db.execute("UPDATE price_lists SET job = ? WHERE id = ?", (job.id, list_id))
    return redirect(url_for("shop.index"), 303)


@views.post("/report")
def report() -> AnyResponse:
    """Run the nightly report now, besides its schedule."""
    queue.current.trigger_recurring("nightly report")
    return redirect(url_for("shop.index"), 303)


@views.post("/postbox")
def switch_postbox() -> AnyResponse:
    """Switch the mail server of the example on or off."""
    current_app.extensions["postbox"].switch()
    return redirect(url_for("shop.index"), 303)


@views.get("/sample.csv")
def sample() -> Response:
    """A price list to try it with."""
    lines = [f"A{number:04},Tea no. {number},{number % 40 + 1}.50" for number in range(2000)]
    return Response("sku,name,price\n" + "\n".join(lines), mimetype="text/csv")


def overview() -> dict[str, Any]:
    """What the page shows."""
    db = database()
    return {
        "customers": [(row, stored(row["job"])) for row in latest(db, "customers")],
        "price_lists": [(row, stored(row["job"])) for row in latest(db, "price_lists")],
        "schedule": next((one for one in queue.current.schedules() if one.name == "nightly report"), None),
        "last_report": next(iter(queue.current.jobs(schedule="nightly report", limit=1)), None),
        "report": next(iter(latest(db, "reports")), None),
        "postbox": current_app.extensions["postbox"],
    }


def latest(db: sqlite3.Connection, table: str) -> list[sqlite3.Row]:
    """The newest rows of one of the shop's tables."""
    return db.execute(f"SELECT * FROM {table} ORDER BY id DESC LIMIT 6").fetchall()


def stored(job_id: int) -> Job | None:
    """What is stored of a job. None when it is no longer kept: a day after its success."""
    try:
        return queue.current.job(job_id).snapshot()
    except JobNotFoundError:
        return None


def clock_time(moment: datetime) -> str:
    """A moment as the page shows it, in the shop's time zone."""
    return f"{moment.astimezone(TIME_ZONE):%d %b %H:%M:%S}"
