"""Alembic and Flask-Migrate in an application that keeps its jobs in its own database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table

from embedq import EmbedQ
from embedq.contrib.alembic import include_object
from tests.connections import for_sqlalchemy
from tests.databases import Home

DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg", "mysql": "pymysql"}


@pytest.fixture
def engine(url: str, home: Home) -> sqlalchemy.Engine:
    """The application's engine on the database that has embedq's tables."""
    kind = urlsplit(url).scheme
    schema = parse_qs(urlsplit(url).query).get("schema")
    options = {"connect_args": {"options": f"-c search_path={schema[0]}"}} if schema else {}
    return sqlalchemy.create_engine(
        for_sqlalchemy(url, kind, DRIVERS[kind]), poolclass=sqlalchemy.pool.NullPool, **options
    )


def proposals(engine: sqlalchemy.Engine, metadata: MetaData, **options: object) -> list[tuple[str, str]]:
    """What Alembic would write into a migration: (what it does, the name of the table or index)."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata, **options})
        return [(found[0], found[1].name) for found in compare_metadata(context, metadata)]


def test_autogenerate_leaves_embedqs_tables_alone(engine: Any) -> None:
    metadata = MetaData()
    Table("embedq_jobs_of_ours", metadata, Column("id", Integer, primary_key=True))
    assert ("remove_table", "embedq_jobs") in proposals(engine, metadata)
    assert proposals(engine, metadata, include_object=include_object) == [("add_table", "embedq_jobs_of_ours")]


@pytest.mark.parametrize("prefix", ["", "shop_", "x"])
def test_tables_are_left_alone_under_a_prefix_too(engine: sqlalchemy.Engine, prefix: str) -> None:
    """MySQL puts `?prefix=` before the names; a table of that name stands for it on all databases."""
    table = Table(f"{prefix}embedq_leases_copied", MetaData(), Column("id", Integer, primary_key=True))
    table.create(engine)
    try:
        assert proposals(engine, MetaData(), include_object=include_object) == []
    finally:
        table.drop(engine)


def test_autogenerate_still_drops_what_the_application_no_longer_has(engine: Any) -> None:
    with engine.begin() as connection:
        Table("orders", MetaData(), Column("id", Integer, primary_key=True)).create(connection)
    try:
        assert proposals(engine, MetaData(), include_object=include_object) == [("remove_table", "orders")]
    finally:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP TABLE orders"))


SHOP = """
import flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from embedq.contrib.alembic import include_object

app = flask.Flask(__name__, instance_path={folder!r})
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///shop.db"
db = SQLAlchemy(app)


class Order(db.Model):
    id = db.Column(db.Integer, primary_key=True)


Migrate(app, db, include_object=include_object)
"""


def test_flask_migrate_writes_a_migration_that_drops_nothing(tmp_path: Path) -> None:
    EmbedQ(tmp_path / "shop.db").migrate()
    (tmp_path / "shop.py").write_text(SHOP.format(folder=str(tmp_path)))
    # In a process of their own, since they set up logging for themselves.
    for command in ("init", "migrate"):
        flask = [sys.executable, "-m", "flask", "--app", "shop", "db", command]
        subprocess.run(flask, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    [written] = (tmp_path / "migrations" / "versions").glob("*.py")
    upgrade = written.read_text().partition("def downgrade")[0]
    assert "create_table('order'" in upgrade
    assert "drop" not in upgrade
