"""A connection that the application has opened for embedq, made as one that embedq opens itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from embedq.errors import ConfigurationError, EmbedqError


def adopted(connect: Callable[[], Any], settings: Mapping[str, str]) -> psycopg.Connection:
    """Let the application open a connection.

    Args:
        settings: of the session.
    Raises:
        psycopg.OperationalError: it could not; what was raised is the cause.
        ConfigurationError: what it returned is no connection of psycopg 3.
    """
    try:
        connection = connect()
    except (psycopg.Error, EmbedqError):
        raise
    except Exception as error:
        # A vault that is away is waited for, like a server.
        raise psycopg.OperationalError(f"connect= failed: {type(error).__name__}: {error}") from error
    if not isinstance(connection, psycopg.Connection):
        raise ConfigurationError(
            f"connect= returned a {type(connection).__module__}.{type(connection).__qualname__}; it must return a new "
            "psycopg.Connection each time"
        )
    if connection.info.transaction_status != TransactionStatus.IDLE:
        connection.rollback()
    connection.autocommit = True
    connection.row_factory = tuple_row
    # What embedq sends is UTF-8, and a pooler follows this one.
    if connection.info.parameter_status("client_encoding") != "UTF8":
        connection.execute("SET client_encoding TO 'UTF8'", prepare=False)
    if settings:
        connection.execute("; ".join(f"SET {name} = {value}" for name, value in settings.items()), prepare=False)
    return connection
