"""The words that embedq does not use, and what to write instead.

    python -m tests.words                       # how many offences each file has
    python -m tests.words docs embedq/storage   # each offence in these files and folders

The check covers prose: pages, docstrings, comments, messages, templates and the comments of SQL files. A phrase in
backquotes is code, and is not checked. tests/test_words.py fails for each offence.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["embedq", "docs", "examples", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
KINDS = {".py", ".sql", ".md", ".html", ".css", ".js"}
# A released schema never changes.
UNCHECKED = re.compile(r"/schema_\d+\.sql$|\.min\.js$|idiomorph-ext")

# A person may be "who". A thread, process, statement or job is "that", "which", "the one that".
PERSON = (
    r"people|person|persons|user|users|visitor|visitors|someone|anyone|everyone|contributor|contributors|developer|"
    r"developers|maintainer|maintainers|operator|operators|newcomer|reader|readers|those|you|one|author|owner"
)

# A regular expression, and what to write instead.
BANNED: list[tuple[str, str]] = [
    # People's pronouns.
    (r"whoever|whomever", "the thread, process or person that …"),
    (r"somebody|anybody|everybody", "a person, another process, each thread, …"),
    (r"nobody", "no person, no process, nothing"),
    (r"who", "that, which, the process that …; who is for people only"),
    (r"whom", "that, which"),
    (r"whose (?:it|they|that|this) (?:is|are)", "which process it belongs to"),
    # Family, funerals, guests.
    (r"kin|kinship|kith", "the same app, related"),
    (r"strangers?", "another app, another process, unknown"),
    (r"bury|buries|buried|burying|burial|corpses?|funerals?|dead bod(?:y|ies)|graves?|ghosts?", "reap, remove"),
    (r"wards?|look(?:s|ed|ing)? after", "drain, manage, maintain"),
    (r"lent|lends?|lending|lender|borrow(?:s|ed|ing|er)?", "external connection, adapt"),
    (r"adopt(?:s|ed|ing)? a connection", "prepare a connection"),
    (r"house|houses|moving house", "a queue, a database; copy a queue to another database"),
    (r"takes? (?:nobody|no one|\w+ jobs) along", "cannot crash other jobs"),
    # Conversation.
    (r"told", "informed, notified, configured, given; unless set otherwise"),
    (r"tell(?:s|ing)? of|hears? of|hearing of|heard of|knows? of|knew of", "reports; learns of; has"),
    (r"asks? for|asked for|asking for", "requests, requires, reads"),
    (r"asks|ask(?!:)", "requests, reads, checks, queries"),
    (r"talks?|speaks?|spoken|talking|speaking", "communicates, uses the protocol"),
    (r"nonsense", "an invalid frame, an invalid value"),
    (r"says?|saying", "states, reports, shows, contains"),
    (r"in so many words", "explicitly"),
    # Quaint.
    (r"lest|thereof|therein|wherein|herein|hence|thence|whence|hitherto|henceforth|whilst|amongst", "plain words"),
    (r"of late", "recently"),
    (r"at (?:one's|its|their) leave", "when it chooses"),
    (r"of its own accord", "by itself"),
    (r"bec(?:o|a)mes? of|become of|becoming of", "the outcome of, what happens to"),
    (r"anew", "again"),
    (r"sees? to it|saw to it|seeing to it", "ensures"),
    (r"upon", "on"),
    (r"but for", "except for, without"),
    (r"save for", "except for"),
    (r"worn", "exhausted"),
    (r"salvag(?:e|es|ed|ing)", "bisect, recover"),
    (r"doubts?|doubted|doubtful", "uncertain"),
    (r"for ever", "forever, without a limit"),
    (r"go(?:es|ing)? on|went on|gone on", "continue"),
    (r"no(?:t)? (?:a )?stead|in its stead", "instead"),
    (r"he|she|him", "it; they for people"),
]
_BANNED = [(re.compile(rf"(?<![\w'’/-])(?:{words})(?![\w-])", re.IGNORECASE), instead) for words, instead in BANNED]
_PERSON_BEFORE = re.compile(rf"\b(?:{PERSON}),?(?: (?:and|or))? $", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """A banned phrase: its file relative to the root, its line, and what to write instead."""

    file: str
    line: int
    words: str
    instead: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words!r} (write: {self.instead}): {self.text}"


def files(*only: str) -> list[Path]:
    """The files that are checked, or those of them that are in the given files and folders."""
    found: set[Path] = set()
    for name in only or SOURCES:
        path = ROOT / name
        found.update(at for at in ([path] if path.is_file() else path.rglob("*")) if at.suffix in KINDS)
    return sorted(path for path in found if not UNCHECKED.search(path.as_posix()))


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Each line of prose in a file, with its number. Code becomes blank."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from _python_prose(text)
        return
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if path.suffix == ".md":
            if line.lstrip().startswith("```"):
                fenced = not fenced
                continue
            # Of code, the comments.
            yield number, line.partition("#")[2] if fenced else line
        elif path.suffix == ".sql":
            yield number, line.partition("--")[2]
        elif path.suffix == ".html":
            yield number, re.sub(r"\{[{%].*?[%}]\}|<[^>]*>", " ", line)
        else:
            yield number, line if re.match(r"\s*(?:/?\*|//)", line) else line.partition("/*")[2]


def _python_prose(text: str) -> Iterator[tuple[int, str]]:
    middle = getattr(tokenize, "FSTRING_MIDDLE", -1)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, middle):
            if token.type == tokenize.STRING and re.match(r"^\w*['\"][\w./:-]*['\"]$", token.string):
                continue  # A name: of an option, a column, an address.
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def offences(path: Path) -> list[Offence]:
    """The banned phrases in a file."""
    found: list[Offence] = []
    for number, line in prose(path):
        # What is in backquotes is code, as are the fields of f-strings and the addresses of links.
        plain = re.sub(r"`[^`]*`|\]\([^)]*\)|\{[^{}]*\}", lambda match: " " * len(match[0]), line)
        for pattern, instead in _BANNED:
            for match in pattern.finditer(plain):
                if match[0].lower() == "who" and _PERSON_BEFORE.search(plain[: match.start()]):
                    continue
                name = path.relative_to(ROOT).as_posix()
                found.append(Offence(file=name, line=number, words=match[0], instead=instead, text=line.strip()))
    return found


def classes() -> dict[str, list[str]]:
    """The files that define each class of embedq."""
    found: dict[str, list[str]] = {}
    for path in files("embedq"):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    return found


def main(only: list[str]) -> None:
    """Print the offences of the given files, or how many each file has; and the class names that stand twice."""
    found = [offence for path in files(*only) for offence in offences(path)]
    if only:
        print(*found, sep="\n")
    else:
        for name, count in sorted(Counter(offence.file for offence in found).items()):
            print(f"{count:5}  {name}")
        print(
            "\nBy phrase:",
            ", ".join(f"{words} {n}" for words, n in Counter(o.words.lower() for o in found).most_common()),
        )
        for name, where in sorted(classes().items()):
            if len(where) > 1:
                print(f"class {name} is in {', '.join(where)}")
    print(f"\n{len(found)} offences")


if __name__ == "__main__":
    main(sys.argv[1:])
