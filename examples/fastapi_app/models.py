"""The club's SQLite file, by SQLAlchemy's asynchronous ORM."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DATA = Path(os.environ.get("EXAMPLE_DATA", Path(__file__).parent / "data")).resolve()

# Handlers run on the server's event loop and jobs on embedq's. A pool would hand connections from one to the other, and
# they do not bear that; without a pool one engine serves both.
engine = create_async_engine(f"sqlite+aiosqlite:///{DATA / 'club.db'}", poolclass=NullPool)
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The club's tables. embedq makes its own beside them."""


class Member(Base):
    """A person who signed up."""

    __tablename__ = "members"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    job: Mapped[int] = mapped_column(default=0)
    greeted_at: Mapped[datetime | None]


class Upload(Base):
    """A file of readings. `done` lines have been looked at, and `taken` of them were readings."""

    __tablename__ = "uploads"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    path: Mapped[str]
    job: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    taken: Mapped[int] = mapped_column(default=0)
    finished: Mapped[bool] = mapped_column(default=False)


class Reading(Base):
    """How warm it was at a station."""

    __tablename__ = "readings"
    id: Mapped[int] = mapped_column(primary_key=True)
    station: Mapped[str]
    degrees: Mapped[float]


class Report(Base):
    """What a nightly report found."""

    __tablename__ = "reports"
    id: Mapped[int] = mapped_column(primary_key=True)
    made_at: Mapped[datetime]
    text: Mapped[str]


@asynccontextmanager
async def tables(app: FastAPI) -> AsyncIterator[None]:
    """A lifespan: the tables are there before the first job runs."""
    (DATA / "uploads").mkdir(parents=True, exist_ok=True)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()
