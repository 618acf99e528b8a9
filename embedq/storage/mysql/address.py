"""The parameters of a MySQL or MariaDB URL.

    mysql://user:password@host:3306/app?ssl_mode=VERIFY_IDENTITY&ssl_ca=/etc/ssl/ca.pem&prefix=shop_

`ssl_mode` is one of the mysql client's: DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY; if it is not given
VERIFY_CA with an `ssl_ca`, else PREFERRED. `ssl_ca`, `ssl_cert` and `ssl_key` name files. `unix_socket` and
`connect_timeout` (seconds) have their usual meaning.
`prefix` stands before the names of the tables, for two apps in one database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from embedq.errors import ConfigurationError

PORT = 3306
CONNECT_SECONDS = 10
# MySQL's names have at most 64 characters; embedq's own tables need 20 of them.
LONGEST_PREFIX = 40
_PARAMETERS = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket", "connect_timeout", "prefix")
_SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlAddress:
    """Where the tables are.

    Attributes:
        arguments: for `pymysql.connect`; hold the password.
        label: for messages; does not.
    """

    arguments: dict[str, Any]
    label: str
    database: str
    prefix: str

    @property
    def qualifier(self) -> str:
        """The SQL before `embedq_` in the full name of a table."""
        return f"`{self.database.replace('`', '``')}`.{self.prefix}"


def parse(url: str) -> MysqlAddress:
    """Return the address that a URL names.

    Raises:
        ConfigurationError: a value that cannot work.
    """
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(given).difference(_PARAMETERS))
    if unknown:
        raise ConfigurationError(f"unknown in a MySQL URL: {', '.join(unknown)}; it knows {', '.join(_PARAMETERS)}")
    database = unquote(parts.path.lstrip("/"))
    if not database or "/" in database:
        raise ConfigurationError("a MySQL URL names its database: mysql://user:password@host/database")
    prefix = given.get("prefix", "")
    if not re.fullmatch(rf"\w{{0,{LONGEST_PREFIX}}}", prefix, re.ASCII):
        raise ConfigurationError(f"prefix={prefix!r} must be up to {LONGEST_PREFIX} letters, digits and _")
    try:
        port, timeout = parts.port or PORT, int(given.get("connect_timeout", CONNECT_SECONDS))
    except ValueError as error:
        raise ConfigurationError(f"the port and connect_timeout are whole numbers: {error}") from error
    if timeout < 1:
        raise ConfigurationError(f"connect_timeout={timeout} must be at least 1 second")
    arguments: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": port,
        "user": unquote(parts.username or ""),
        # As bytes: the driver would take a text for Latin-1.
        "password": unquote(parts.password or "").encode(),
        "connect_timeout": timeout,
        **_tls(given),
    }
    if "unix_socket" in given:
        arguments["unix_socket"] = given["unix_socket"]
    label = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{quote(database)}"
    return MysqlAddress(
        arguments=arguments,
        label=f"{label}?prefix={prefix}" if prefix else label,
        database=database,
        prefix=prefix,
    )


def _tls(given: dict[str, str]) -> dict[str, Any]:
    mode = given.get("ssl_mode", "VERIFY_CA" if "ssl_ca" in given else "PREFERRED").upper()
    if mode not in _SSL_MODES:
        raise ConfigurationError(f"ssl_mode={mode!r} must be one of {', '.join(_SSL_MODES)}")
    files: dict[str, Any] = {name: given[name] for name in ("ssl_ca", "ssl_cert", "ssl_key") if name in given}
    if mode == "DISABLED":
        return {"ssl_disabled": True}
    if mode.startswith("VERIFY"):
        return {**files, "ssl_verify_cert": True, "ssl_verify_identity": mode == "VERIFY_IDENTITY"}
    if mode == "REQUIRED" or files:
        named = {name.removeprefix("ssl_"): file for name, file in files.items()}
        return {"ssl": {"check_hostname": False, "verify_mode": "none", **named}}
    return {}
