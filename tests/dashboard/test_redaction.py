"""What goes by a secret's name is not shown, however deep it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from embedq.display.calls import readable_call
from embedq.display.redaction import HIDDEN, Redaction
from embedq.serializers import dumps_call, dumps_value


@dataclass
class Card:
    owner: str
    card_number: str


def shown(*args: Any, names: tuple[str, ...] = (), redact: tuple[str, ...] | None = None, **kwargs: Any) -> str:
    hide = Redaction(redact) if redact is not None else Redaction.usual()
    return readable_call("f", hide.arguments(dumps_call(args, kwargs, limit=100_000, name="f"), names), limit=10_000)


def shown_by_keyword(name: str, value: str) -> str:
    keywords: dict[str, Any] = {name: value}
    return shown(**keywords)


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "db_passwd", "user_token", "accessToken", "api_key", "apiKey", "API-KEY", "secret",
     "client_secret", "Authorization", "cookie", "private_key", "credentials", "session_id", "signature", "pin",
     "cvv", "pwd", "passcode", "db_pass", "smtp_pass", "dbPass", "card_cvv", "cc_number", "jwt", "bearer",
     "session", "userSession", "otp_code", "pin_code", "ssh_key", "encryption_key", "proxy_auth", "totp"],
)  # fmt: skip
def test_by_the_name_of_an_argument(name: str) -> None:
    assert "hush" not in shown_by_keyword(name, "hush")
    assert "hush" not in shown({"a": [{"b": {name: {"deep": "hush"}}}]})
    assert "hush" not in shown({1: 2, name: "hush"})
    assert "hush" not in shown("hush", names=(name,))


@pytest.mark.parametrize(
    "name",
    [
        "user_id",
        "email",
        "keyboard",
        "pinned",
        "passage",
        "authors",
        "compass",
        "passenger",
        "bypass_cache",
        "monkey",
        "sessions_count",
        "session_count",
        "primary_key",
        "idempotency_key",
        "secretary",
        "spinner",
        "shipping",
        "opinion",
        "card_name",
        "hotpot",
        "number",
    ],
)
def test_other_names_are_shown(name: str) -> None:
    assert "plain" in shown_by_keyword(name, "plain")


def test_in_dataclasses_pairs_and_addresses() -> None:
    assert shown(Card("ada", "4111")) == f'f(Card(owner="ada", card_number="{HIDDEN}"))'
    assert "hush" not in shown([("x", {"token": "hush"})], {("a", 1): {"token": "hush"}})
    assert shown("postgresql://ada:hush@db/x") == f'f("postgresql://ada:{HIDDEN}@db/x")'
    assert shown(url="redis://:hush@cache") == f'f(url="redis://:{HIDDEN}@cache")'


def test_in_headers_and_other_pairs() -> None:
    assert "hush" not in shown([["Authorization", "Bearer hush"], ["Accept", "*/*"]])
    assert "*/*" in shown([["Authorization", "Bearer hush"], ["Accept", "*/*"]])
    assert "hush" not in shown((("password", "hush"),))
    assert "plain" in shown(("colour", "plain"), ["password", "and", "plain"])


@pytest.mark.parametrize("text", [
    '{"user": "ada", "password": "hush"}', '[{"api_key": "hush"}]', "https://shop.example/x?api_key=hush&page=2",
    "Server=db;User=ada;Password=hu sh;Pooling=true", "Password=hush;", "Authorization: Bearer hush",
    "called with Bearer hush-hush-hush", 'token="hush"', "{'password': 'hush'}", "refresh_token=hush\nplain",
])  # fmt: skip
def test_in_a_text_that_holds_one(text: str) -> None:
    assert "hush" not in shown(text).replace("hu sh", "hush")
    assert HIDDEN in shown(text)


@pytest.mark.parametrize("text", [
    '{"page": 2,  "colour": "red"}', "https://shop.example/compass?page=2#top", "bypass=1; passengers: 4", "a = b",
    "The bearer of this is Ada", "key: value", "[not json", "{",
])  # fmt: skip
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert json.loads(Redaction.usual().value(json.dumps(text))) == text


def test_what_is_a_secret_can_be_set() -> None:
    assert "hush" not in shown(iban="hush", redact=("^iban$",))
    assert "plain" in shown(password="plain", redact=("^iban$",))
    assert "plain" in shown(password="plain", redact=())


def test_results_too() -> None:
    hide = Redaction.usual()
    assert json.loads(hide.value(dumps_value({"token": "hush", "n": 1}, limit=100_000))) == {"token": HIDDEN, "n": 1}


def test_what_cannot_be_read_stays_as_it_is() -> None:
    assert Redaction.usual().arguments("[[1") == "[[1"
    assert Redaction.usual().value("{") == "{"
