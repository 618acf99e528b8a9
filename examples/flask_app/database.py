"""The shop's SQLite file, by plain sqlite3: a connection for each request, and for each job."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from flask import current_app, g

TABLES = """
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, job INTEGER, greeted_at TEXT
);
CREATE TABLE IF NOT EXISTS products (
    sku TEXT PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL, times_priced INTEGER NOT NULL DEFAULT 1
);
-- done: lines that have been looked at; taken: those that were products.
CREATE TABLE IF NOT EXISTS price_lists (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, job INTEGER,
    done INTEGER NOT NULL DEFAULT 0, taken INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS reports (id INTEGER PRIMARY KEY, made_at TEXT NOT NULL, text TEXT NOT NULL);
"""


def create_tables(path: Path) -> None:
    """Make the file and its tables, where they are not there. embedq makes its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)


def database() -> sqlite3.Connection:
    """The connection of this app context, opened when it is first needed."""
    if "database" not in g:
        g.database = sqlite3.connect(current_app.config["DATABASE"])
        g.database.row_factory = sqlite3.Row
    connection: sqlite3.Connection = g.database
    return connection


def close_database(error: BaseException | None = None) -> None:
    """At the end of a request, and of a job."""
    if "database" in g:
        g.pop("database").close()
