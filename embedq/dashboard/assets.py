"""The style sheet, the scripts and the icon: read once, and cached by browsers without expiry."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from starlette.responses import PlainTextResponse, Response

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}


@cache
def _all() -> dict[str, bytes]:
    folder = files("embedq.dashboard") / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _TYPES}


@cache
def version(name: str) -> str:
    """Return a hash of a file's content."""
    return hashlib.blake2b(_all()[name], digest_size=6).hexdigest()


def respond(name: str) -> Response:
    """Return a file, or 404."""
    content = _all().get(name)
    if content is None:
        return PlainTextResponse("No such file.\n", status_code=404)
    # The link contains the version, so the content never changes.
    return Response(
        content,
        media_type=_TYPES[name.rpartition(".")[2]],
        headers={"Cache-Control": "private, max-age=31536000, immutable"},
    )
