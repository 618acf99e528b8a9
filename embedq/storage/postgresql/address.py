"""The parameters of a PostgreSQL URL: libpq's own, and two of embedq's.

    postgresql://user:password@host:5432/app?sslmode=verify-full&schema=jobs&pgbouncer=true

`schema` (public if not given) is where the tables go; it is created if it is not there. `pgbouncer=true` means that a
pooler in between assigns a connection for each transaction; embedq also detects that. All else is libpq's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from embedq.errors import ConfigurationError

LONGEST_NAME = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """Where the tables are.

    Attributes:
        conninfo: for libpq; holds the password.
        label: for messages; does not.
        pooled: the URL declares that connections are shared between transactions.
    """

    conninfo: str
    label: str
    schema: str
    pooled: bool

    @property
    def channel(self) -> str:
        """Where changes in this schema are announced."""
        return f"embedq_{hashlib.sha256(self.schema.encode()).hexdigest()[:16]}"

    @property
    def quoted_schema(self) -> str:
        """The schema as SQL."""
        return '"' + self.schema.replace('"', '""') + '"'


def parse(url: str) -> PostgresAddress:
    """Return the address that a URL names.

    Raises:
        ConfigurationError: a value that cannot work.
    """
    parts = urlsplit(url)
    own, rest = {}, []
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in ("schema", "pgbouncer"):
            own[key] = value
        else:
            rest.append((key, value))
    schema = own.get("schema", "public")
    if not 0 < len(schema.encode()) <= LONGEST_NAME or "\x00" in schema:
        raise ConfigurationError(f"schema={schema!r} must be a name of 1 to {LONGEST_NAME} bytes")
    pooled = own.get("pgbouncer", "false").lower()
    if pooled not in ("true", "false", "1", "0"):
        raise ConfigurationError(f"pgbouncer={pooled!r} must be true or false")
    # Not urlunsplit: it leaves out the slashes where no host is named, as for a socket.
    conninfo = f"postgresql://{parts.netloc}{parts.path}?{urlencode(rest, quote_via=quote)}"
    label = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return PostgresAddress(
        conninfo=conninfo,
        label=label if schema == "public" else f"{label}?schema={quote(schema)}",
        schema=schema,
        pooled=pooled in ("true", "1"),
    )
