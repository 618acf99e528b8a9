"""What goes by a secret's name is not shown, however deep it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from embedq.dashboard.redaction import HIDDEN, Redaction
from embedq.readable import readable_call
from embedq.serializers import dumps_call, dumps_value


@dataclass
class Card:
    owner: str
    card_number: str


def shown(*args: Any, names: tuple[str, ...] = (), redact: tuple[str, ...] | None = None, **kwargs: Any) -> str:
    hide = Redaction(redact) if redact is not None else Redaction.usual()
    return readable_call("f", hide.arguments(dumps_call(args, kwargs, limit=100_000, name="f"), names), limit=10_000)


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "db_passwd", "user_token", "accessToken", "api_key", "apiKey", "API-KEY", "secret",
     "client_secret", "Authorization", "cookie", "private_key", "credentials", "session_id", "signature", "pin", "cvv"],
)  # fmt: skip
def test_by_the_name_of_an_argument(name: str) -> None:
    assert "hush" not in shown(**{name: "hush"})
    assert "hush" not in shown({"a": [{"b": {name: {"deep": "hush"}}}]})
    assert "hush" not in shown({1: 2, name: "hush"})
    assert "hush" not in shown("hush", names=(name,))


@pytest.mark.parametrize("name", ["user_id", "email", "keyboard", "tokens_left"[:4], "pinned", "passage", "authors"])
def test_other_names_are_shown(name: str) -> None:
    assert "plain" in shown(**{name: "plain"})


def test_in_dataclasses_pairs_and_addresses() -> None:
    assert shown(Card("ada", "4111")) == f'f(Card(owner="ada", card_number="{HIDDEN}"))'
    assert "hush" not in shown([("x", {"token": "hush"})], {("a", 1): {"token": "hush"}})
    assert shown("postgresql://ada:hush@db/x") == f'f("postgresql://ada:{HIDDEN}@db/x")'
    assert shown(url="redis://:hush@cache") == f'f(url="redis://:{HIDDEN}@cache")'


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
