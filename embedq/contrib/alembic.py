"""Keeps Alembic and Flask-Migrate from dropping embedq's tables, where jobs share the application's database.

context.configure(connection=connection, target_metadata=metadata, include_object=include_object)    # in env.py
Migrate(app, db, include_object=include_object)                                                      # Flask-Migrate

embedq migrates its own tables. They are not in the application's metadata, so `alembic revision --autogenerate` would
write a migration that drops them.
"""

from __future__ import annotations

# In the name of each table. On MySQL another prefix may come before it (`?prefix=shop_`).
MARK = "embedq_"
# Where sqlite-utils records the migrations of a SQLite file, embedq's among them.
RECORD = "_sqlite_migrations"


def include_object(item: object, name: str | None, type_: str, reflected: bool, compare_to: object | None) -> bool:
    """Return False for a table of embedq's that was found in the database. For Alembic's `include_object`.

    A table of the application's metadata is always included, regardless of its name. To combine it with a rule of the
    application: `lambda *found: include_object(*found) and own(*found)`.

    Args:
        item: the table, column, index or constraint.
        type_: Alembic's word for what it is, such as "table".
        reflected: it was found in the database.
        compare_to: what the metadata has of that name, or None.
    """
    if type_ != "table" or not reflected or compare_to is not None or name is None:
        return True
    return not (MARK in name or name == RECORD)
