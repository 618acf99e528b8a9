"""The SQLite backend: the default, with no server."""

from embedq.storage.sqlite.database import SQLiteDatabase

__all__ = ["SQLiteDatabase"]
