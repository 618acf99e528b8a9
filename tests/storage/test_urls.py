"""URLs: what is wrong with one is told, and never its password."""

from __future__ import annotations

import pytest

from embedq import ConfigurationError, EmbedQ
from embedq.config import scheme_of, without_password


@pytest.mark.parametrize("url", [
    "postgresql://me:se/cret@db.example/app",
    "postgresql://me:se#cret@db.example/app",
    "postgresql://me:se?cret@db.example/app",
    "mysql://me:/secret@db.example/app",
])  # fmt: skip
def test_a_password_that_is_not_encoded_is_reported_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as told:
        EmbedQ(url)
    assert "cret" not in str(told.value)


@pytest.mark.parametrize("url", [
    "postgresql://me:secret@db.example:5432/app?sslmode=require",
    "postgresql://[2001:db8::a]:5432/app",
    "postgresql://one:5432,two:5433/app?target_session_attrs=read-write",
    "postgresql:///app?host=/var/run/postgresql&user=me@example",
    "postgresql://db.example",
    "POSTGRES://me:se%2Fcret@db.example/app",
    "mariadb://root@127.0.0.1:3306/app?unix_socket=/run/mysqld/mysqld.sock",
])  # fmt: skip
def test_a_url_that_may_work_is_let_pass(url: str) -> None:
    assert scheme_of(url) in ("postgresql", "mysql")


@pytest.mark.parametrize("url", ["postgresql+psycopg://me@db.example/app", "mysql+pymysql://me@db.example/app"])
def test_a_driver_in_a_url_is_to_be_left_out(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"remove \+\w+ from the URL"):
        EmbedQ(url)


def test_no_kind_of_password_is_shown() -> None:
    shown = without_password("postgresql://me:secret@db.example/app?sslpassword=secret&password=secret&sslmode=require")
    assert shown == "postgresql://me:***@db.example/app?sslpassword=***&password=***&sslmode=require"
