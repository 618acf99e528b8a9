"""Redaction of secrets: values whose name matches a pattern are hidden, at any depth of the arguments.

Only stored JSON text is parsed; no object is created. Hidden values must not match a search either, or they could be
guessed one letter at a time: `Hidden` describes them to a search.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from embedq.display.calls import parsed
from embedq.errors import ConfigurationError


def _word(*words: str) -> str:
    """Match any of these as a separate word: not in "compass"."""
    return rf"(?<![a-z])({'|'.join(words)})(?![a-z])"


def _last_word(*words: str) -> str:
    """Match any of these at the end of a name: not in "session_count"."""
    return rf"(?<![a-z])({'|'.join(words)})$"


# Regular expressions, searched in names without regard to case; `dbPass` is also searched as `db_pass`.
SECRETS: tuple[str, ...] = (
    r"passw(or)?d", r"pass_?-?(phrase|code)", r"secret(?!ar)", r"token", r"credential", r"authorization", r"cookie",
    r"signature", r"(api|access|private|ssh|encryption|signing|master)_?-?key", r"session_?-?(id|key)",
    r"(card|cc)_?-?(number|num|no)(?![a-z])", r"(otp|pin|security|verification)_?-?code",
    _word("pwd", "jwt", "bearer", "t?otp", "cvv2?", "cvc2?"),
    _last_word("pw", "pass", "auth", "session", "pin", "iban", "ssn", r"connection_?string", "dsn"),
)  # fmt: skip
HIDDEN = "••••••"
# user:password@ in a URL.
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
# "api_key=… & …" in a URL or form, "Password=…;" in a connection string, "Authorization: Bearer …" in a request.
_NAMED = re.compile(r"""(?<![\w.-])([A-Za-z_][\w.-]{0,99})["']?\s{0,3}[=:]\s{0,3}""")
_ASSIGNED = re.compile(r""""[^"]*"|'[^']*'|(?:(?:Bearer|Basic|Token)\s+)?(?:[^&;"'=\n]{1,200}(?=;)|[^\s&;"'#]+)""")
_BEARER = re.compile(r"\b(Bearer\s+)[\w.~+/=-]{8,}", re.I)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Redaction:
    """Removes secrets from stored values.

    Args:
        patterns: regular expressions for names; an empty list shows everything.
    Raises:
        ConfigurationError: one of them is not a regular expression.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        if isinstance(patterns, str):
            raise ConfigurationError(f"redact={patterns!r} must be a list of patterns")
        self.patterns = tuple(patterns)
        try:
            self._secret = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.I) if patterns else None
        except (re.error, TypeError) as error:
            raise ConfigurationError(f"redact={patterns!r} contains an invalid pattern: {error}") from None
        # The same few names recur.
        self._is_named_secret = lru_cache(maxsize=4_000)(self._matches)

    @classmethod
    def usual(cls) -> Redaction:
        """Return a redaction with the default patterns."""
        return cls(SECRETS)

    def arguments(self, text: str, names: Sequence[str] = ()) -> str:
        """Return stored arguments, [positional, by name], without their secrets.

        Args:
            names: the names of the positional arguments, if known.
        """
        return self.without(text, self.places(names))

    def places(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the positions of secrets among positional arguments with these names."""
        return tuple(place for place, name in enumerate(names) if self._is_secret(name))

    def without(self, text: str, places: Collection[int]) -> str:
        """Return stored arguments without their secrets, including those at these positions; compact, as stored."""
        value = parsed(text)
        match value:
            case None:
                return text
            case [list() as args, dict() as kwargs]:
                shown = [HIDDEN if place in places else self._clean(value) for place, value in enumerate(args)]
                value = [shown, self._clean(kwargs)]
            case _:
                value = self._clean(value)
        return json.dumps(value, separators=(",", ":"))

    def value(self, text: str) -> str:
        """Return a stored value, such as a result, without its secrets."""
        value = parsed(text)
        return text if value is None else json.dumps(self._clean(value))

    def plain(self, text: str | None) -> Any:
        """Return a stored value as JSON values, without its secrets; None if it cannot be read."""
        return self._clean(parsed(text))

    def _is_secret(self, name: object) -> bool:
        return self._secret is not None and isinstance(name, str) and self._is_named_secret(name)

    def _matches(self, name: str) -> bool:
        assert self._secret is not None
        return self._secret.search(name) is not None or self._secret.search(_CAMEL.sub("_", name)) is not None

    def _clean(self, value: Any) -> Any:
        if self._secret is None:
            return value
        match value:
            case str():
                return self._clean_text(value)
            # A dict whose keys are not all text is stored as pairs.
            case {"$": ["dict", list() as pairs]} if len(value) == 1:
                return {"$": ["dict", [self._clean_pair(pair) for pair in pairs]]}
            # The text before the value is the name of a class, not of a secret.
            case {"$": ["dataclass" | "namedtuple" | "enum" as tag, [str() as kind, inner]]} if len(value) == 1:
                return {"$": [tag, [kind, self._clean(inner)]]}
            # A pair, such as a header or a query parameter.
            case [str() as key, _] if self._is_secret(key):
                return [key, HIDDEN]
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

    def _clean_text(self, text: str) -> str:
        if text[:1] in "[{" and isinstance(inner := parsed(text), list | dict):
            clean = self._clean(inner)
            # Text without secrets is returned unchanged.
            return text if clean == inner else json.dumps(clean, ensure_ascii=False)
        # Fast checks first: a search reads many texts, and most contain no secret.
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
        if "=" in text or ":" in text:
            text = self._without_assigned(text)
        return _BEARER.sub(rf"\1{HIDDEN}", text) if "earer" in text.lower() else text

    def _without_assigned(self, text: str) -> str:
        pieces, at = [], 0
        for named in _NAMED.finditer(text):
            if named.start() >= at and self._is_secret(named[1]) and (value := _ASSIGNED.match(text, named.end())):
                pieces += [text[at : named.end()], HIDDEN]
                at = value.end()
        return "".join([*pieces, text[at:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """Which stored arguments are hidden from the user of a search; plain values, since an action stores its search.

    Attributes:
        patterns: of `Redaction`.
        places: the positions of secret positional arguments, by the name of the function.
    """

    patterns: tuple[str, ...]
    places: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def shows(self, term: str, name: str, text: str) -> bool:
        """Return whether a term is visible in the stored arguments of a function.

        Secrets are removed first, whatever the term, so that the duration reveals nothing about them.
        """
        clean = _redaction(self.patterns).without(text, self.places.get(name, ()))
        # JSON escapes some characters.
        return term in clean or json.dumps(term)[1:-1] in clean


@lru_cache(maxsize=16)
def _redaction(patterns: tuple[str, ...]) -> Redaction:
    return Redaction(patterns)
