"""Where measures happen: fresh databases of one kind, each with embedq's tables and a plain one beside them.

A *site* makes them for one run and removes them; a *place* is one of them. A place is known by its URL, which is all
that a child process needs to be told.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.places.base import Place, Site

__all__ = ["Place", "Site", "open_place", "open_site"]


def open_site(url: str | None, folder: Path) -> Site:
    """The site on the server of that URL; without one, that of SQLite files in `folder`.

    Raises:
        ValueError: the URL is of no server.
    """
    if url is None:
        from benchmarks.places.sqlite import SQLiteSite

        return SQLiteSite(folder)
    scheme = urlsplit(url).scheme
    if scheme in ("postgresql", "postgres"):
        from benchmarks.places.postgresql import PostgresSite

        return PostgresSite(url)
    if scheme in ("mysql", "mariadb"):
        from benchmarks.places.mysql import MysqlSite

        return MysqlSite(url)
    raise ValueError(f"{url!r} should begin with postgresql:// or mysql://; SQLite is measured without --database")


def open_place(url: str) -> Place:
    """The place of that URL, made by another process."""
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from benchmarks.places.sqlite import SQLitePlace

        return SQLitePlace(url)
    if scheme in ("postgresql", "postgres"):
        from benchmarks.places.postgresql import PostgresPlace

        return PostgresPlace(url)
    from benchmarks.places.mysql import MysqlPlace

    return MysqlPlace(url)
