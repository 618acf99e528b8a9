"""Secrets are not shown: what goes by the name of one, however deep in the arguments, is left out.

Only stored JSON text is looked at, and nothing is made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from embedq.errors import ConfigurationError
from embedq.readable import parsed

# Regular expressions, searched for in names without regard to case.
SECRETS: tuple[str, ...] = (
    r"passw(or)?d", r"passphrase", r"^pw$", r"secret", r"token", r"api_?-?key", r"access_?-?key", r"private_?-?key",
    r"credential", r"authorization", r"^auth$", r"cookie", r"session_?-?(id|key)", r"signature", r"^otp$", r"^pin$",
    r"\bcvv\b|^cvc$", r"card_?-?number", r"^iban$", r"^ssn$", r"(connection_?string|dsn)$",
)  # fmt: skip
HIDDEN = "••••••"
# user:password@ in an address.
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")


class Redaction:
    """Takes secrets out of stored values.

    Args:
        patterns: regular expressions for names; none shows everything.
    Raises:
        ConfigurationError: one of them is no regular expression.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        if isinstance(patterns, str):
            raise ConfigurationError(f"redact={patterns!r} must be a list of patterns")
        try:
            self._secret = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.I) if patterns else None
        except (re.error, TypeError) as error:
            raise ConfigurationError(f"redact={patterns!r} holds something that is no pattern: {error}") from None

    @classmethod
    def usual(cls) -> Redaction:
        """By the names that secrets usually have."""
        return cls(SECRETS)

    def arguments(self, text: str, names: Sequence[str] = ()) -> str:
        """Stored arguments, [positional, by name], without their secrets.

        Args:
            names: of the positional ones, where they are known.
        """
        match parsed(text):
            case [list() as args, dict() as kwargs]:
                shown = [
                    HIDDEN if index < len(names) and self._is_secret(names[index]) else self._clean(value)
                    for index, value in enumerate(args)
                ]
                return json.dumps([shown, self._clean(kwargs)])
        return text if parsed(text) is None else json.dumps(self._clean(parsed(text)))

    def shows(self, term: str, text: str, names: Sequence[str] = ()) -> bool:
        """Whether a term that is in stored arguments can be seen in them. A secret must not be found by guessing it."""
        clean = self.arguments(text, names)
        value = parsed(clean)
        return term in clean or (
            # As it is stored, without spaces; or with letters as they are.
            term in json.dumps(value, separators=(",", ":"))
            or term in json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        )

    def value(self, text: str) -> str:
        """A stored value, such as a result, without the secrets in it."""
        value = parsed(text)
        return text if value is None else json.dumps(self._clean(value))

    def plain(self, text: str | None) -> Any:
        """A stored value as plain values for JSON; None if it cannot be read."""
        return self._clean(parsed(text))

    def _is_secret(self, name: object) -> bool:
        return self._secret is not None and isinstance(name, str) and self._secret.search(name) is not None

    def _clean(self, value: Any) -> Any:
        if self._secret is None:
            return value
        match value:
            case str():
                return _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", value)
            # A dict whose keys are not all text is stored as pairs.
            case {"$": ["dict", list() as pairs]} if len(value) == 1:
                return {"$": ["dict", [self._clean_pair(pair) for pair in pairs]]}
            case list():
                return [self._clean(item) for item in value]
            case dict():
                return {key: HIDDEN if self._is_secret(key) else self._clean(item) for key, item in value.items()}
        return value

    def _clean_pair(self, pair: Any) -> Any:
        match pair:
            case [str() as key, _] if self._is_secret(key):
                return [key, HIDDEN]
            case {"$": ["tuple", _]}:
                return self._clean(pair)
            case [key, item]:
                return [key, self._clean(item)]
        return self._clean(pair)
