"""The style sheet, the scripts and the icon: shipped in the package, read once, and kept by browsers for ever."""

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
    """Tells one content of a file from another."""
    return hashlib.blake2b(_all()[name], digest_size=6).hexdigest()


def respond(name: str) -> Response:
    """The file of that name; 404 if there is none."""
    content = _all().get(name)
    if content is None:
        return PlainTextResponse("There is no such file.\n", status_code=404)
    # Its link holds its version, so it never changes.
    return Response(
        content,
        media_type=_TYPES[name.rpartition(".")[2]],
        headers={"Cache-Control": "private, max-age=31536000, immutable"},
    )
