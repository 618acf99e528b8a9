"""The URL of embedq's database, from an entry of DATABASES.

The entry is read each time, because Django's test runner changes it to the name of the test database.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from django.db import connections

from embedq.errors import ConfigurationError

# OPTIONS that Django, or psycopg for it, handles; all others are libpq's.
_NOT_LIBPQ = {
    "assume_role", "autocommit", "client_encoding", "context", "cursor_factory", "isolation_level", "pool",
    "prepare_threshold", "row_factory", "server_side_binding",
}  # fmt: skip
_MYSQL_OPTIONS = ("ssl_mode", "unix_socket", "connect_timeout")


def database_name(alias: str) -> str:
    """Return the present name of a database: while tests run, the test database's."""
    return str(connections.settings[alias]["NAME"])


def database_url(alias: str) -> str | Path | None:
    """Return the URL, or the file, of a database of the project; None for SQLite in memory, which threads cannot share.

    Raises:
        ConfigurationError: there is no such database, or embedq has no backend for it.
    """
    if alias not in connections.settings:
        raise ConfigurationError(
            f'EMBEDQ["database"]={alias!r} is not in DATABASES; there are: {", ".join(sorted(connections.settings))}'
        )
    given = connections.settings[alias]
    vendor = connections[alias].vendor
    if vendor == "sqlite":
        return _sqlite(str(given["NAME"]))
    if vendor == "postgresql":
        return postgresql_url(given)
    if vendor == "mysql":
        return mysql_url(given)
    raise ConfigurationError(
        f"DATABASES[{alias!r}] is {vendor}, which embedq does not support; give jobs a database of their own: "
        'EMBEDQ = {"url": "sqlite:////var/lib/shop/jobs.db"}'
    )


def _sqlite(name: str) -> Path | None:
    if name == ":memory:" or "mode=memory" in name or name.startswith("file::memory:"):
        return None
    if not name or name.startswith("file:"):
        raise ConfigurationError(
            f"the SQLite database {name!r} is not given as a path; name the file for embedq: "
            'EMBEDQ = {"url": "sqlite:////var/lib/shop/db.sqlite3"}'
        )
    return Path(name).absolute()


def postgresql_url(given: Mapping[str, Any]) -> str:
    """Return the URL of an entry of DATABASES, as Django passes it to libpq."""
    options = dict(given.get("OPTIONS") or {})
    role = options.get("assume_role")
    parameters = {name: str(value) for name, value in options.items() if name not in _NOT_LIBPQ}
    if role:
        role_option = f"-c role={_escaped(str(role))}"
        parameters["options"] = f"{parameters['options']} {role_option}" if "options" in parameters else role_option
    return _assembled("postgresql", given, parameters, socket="host")


def mysql_url(given: Mapping[str, Any]) -> str:
    """Return the URL of an entry of DATABASES."""
    options = dict(given.get("OPTIONS") or {})
    files = {f"ssl_{part}": path for part, path in (options.get("ssl") or {}).items() if part in ("ca", "cert", "key")}
    chosen = {**files, **{name: options[name] for name in _MYSQL_OPTIONS if name in options}}
    return _assembled("mysql", given, {name: str(value) for name, value in chosen.items()}, socket="unix_socket")


def _assembled(scheme: str, given: Mapping[str, Any], parameters: dict[str, str], *, socket: str) -> str:
    """Return a URL; a host that is the path of a socket becomes the parameter of that name."""
    host, port = str(given.get("HOST") or ""), str(given.get("PORT") or "")
    user, password = str(given.get("USER") or ""), str(given.get("PASSWORD") or "")
    authority = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    authority += "@" if authority else ""
    if host.startswith("/"):
        parameters = {socket: host, **parameters}
        # A socket of PostgreSQL has its port in its name.
        if port and scheme == "postgresql":
            parameters["port"] = port
    else:
        authority += f"[{host}]" if ":" in host and "," not in host else host
        authority += f":{port}" if host and port else ""
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"{scheme}://{authority}/{quote(str(given.get('NAME') or ''), safe='')}{query}"


def _escaped(value: str) -> str:
    """Escape a value for libpq's `options`, which are split at spaces."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
