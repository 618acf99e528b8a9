"""Signatures of rows that decide what code runs, so that access to the database is not access to the process.

A function stored by value is a pickle, and a function stored by an unregistered name could be `os:system`. Both are
signed at enqueue and verified before anything is unpickled or imported. The key never goes into the database: it comes
from the configuration (`Key.from_text`), or from a file of mode 0600 beside a SQLite database (`load_or_create_key`).

The surprise: the text of a key file is a secret like any other. `Key.from_text(file's text)` is the same key, so that
a key made for one host can be moved into the configuration of several.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from contextlib import suppress
from hmac import compare_digest, digest
from pathlib import Path
from typing import NoReturn

from embedq.errors import ConfigurationError
from embedq.process.own_folder import make_own_folder

SHORTEST_SECRET = 16

_KEY_TEXT = re.compile(r"[0-9a-f]{64}\n?")


class Key:
    """A secret that signs.

    Attributes:
        id: 8 hex digits that name the key, for rows and messages. The secret cannot be computed from them.
    """

    __slots__ = ("_secret", "id")

    _secret: bytes
    id: str

    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.sha256(secret).digest()
        # No framed message begins with a letter, so this is never a signature.
        self.id = digest(self._secret, b"key id", "sha256").hex()[:8]

    @classmethod
    def from_text(cls, secret: str) -> Key:
        """Return the key of a secret from the configuration. White space around it is ignored.

        Raises:
            ConfigurationError: it has fewer than 16 characters.
        """
        secret = secret.strip()
        if len(secret) < SHORTEST_SECRET:
            raise ConfigurationError(
                f"the secret key has {len(secret)} characters and needs {SHORTEST_SECRET} or more; make one with: "
                'python -c "import secrets; print(secrets.token_hex(32))"'
            )
        return cls(secret.encode("utf-8", "surrogatepass"))

    def sign(self, *parts: str) -> str:
        """Return the HMAC-SHA256 of the parts as 64 hex digits; ("ab", "c") and ("a", "bc") have different ones."""
        return digest(self._secret, _framed(parts), "sha256").hex()

    def verify(self, signature: str, *parts: str) -> bool:
        """Whether `signature` is this key's for these parts, in a time that does not depend on the right one."""
        # As bytes: compare_digest refuses text that is not ASCII, and the signature comes from a row.
        return compare_digest(self.sign(*parts).encode(), signature.encode("utf-8", "surrogatepass"))

    def __repr__(self) -> str:
        return f"<Key {self.id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Key cannot be pickled: it would be written into the database that it protects")


def _framed(parts: tuple[str, ...]) -> bytes:
    return "".join([f"{len(part)}:{part}" for part in parts]).encode("utf-8", "surrogatepass")


def load_or_create_key(path: Path) -> Key:
    """Return the key in the file at `path`, created from 32 random bytes if there is none.

    Processes that start at the same time agree on one key, and a crash leaves no incomplete file.

    Raises:
        ConfigurationError: others may read the file, it is damaged, or it can be neither read nor created. The
            message states what to run.
    """
    try:
        try:
            text = _read(path)
        except FileNotFoundError:
            _create(path)
            text = _read(path)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {path} can be neither read nor created: {error}; "
            "make its folder readable and writable for this user, or set the secret key in the configuration"
        ) from error
    if not _KEY_TEXT.fullmatch(text):
        raise ConfigurationError(
            f"the key file {path} is damaged: it should contain 64 hex digits and contains {len(text)} characters; "
            "restore it from a backup, or delete it to have a new one created (jobs signed with the old key then stay "
            "parked)"
        )
    return Key.from_text(text)


def copy_key(source: Path, target: Path) -> bool:
    """Copy the key of the file `source` to a file at `target`; False when there is another key.

    Raises:
        ConfigurationError: as for `load_or_create_key`.
    """
    key = load_or_create_key(source)
    try:
        make_own_folder(target.parent)
        _create(target, _read(source))
    except OSError as error:
        raise ConfigurationError(f"the key file {target} cannot be created: {error}; copy {source} there") from error
    return load_or_create_key(target).id == key.id


def _read(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        status = os.fstat(file.fileno())
        if os.name == "posix" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"the key file {path} is open to other users (mode {stat.S_IMODE(status.st_mode):o}); "
                f"run: chmod 600 {_quoted(path)}"
            )
        return file.read(1000)


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _create(path: Path, text: str | None = None) -> None:
    """Create the file completely or not at all, with a new key or this text; an existing file stays."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
            file.write(text or os.urandom(32).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    _sync_folder(path.parent)


def _publish(draft: Path, path: Path) -> None:
    try:
        # Unlike a rename, a link never replaces a file that is there.
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EINVAL):
            raise
        # A file system without hard links (FAT, some mounts of container hosts).
        from filelock import FileLock

        with FileLock(f"{path}.lock"):
            if not path.exists():
                draft.replace(path)


def _sync_folder(folder: Path) -> None:
    """Make a new file name survive a power failure: jobs signed with a lost key never run."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
