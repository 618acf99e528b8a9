"""SQLite: the default, with no server.

May import what `storage` may, and none of the other databases. Start reading in `database.py`.
"""

from embedq.storage.sqlite.database import SQLiteDatabase

__all__ = ["SQLiteDatabase"]
