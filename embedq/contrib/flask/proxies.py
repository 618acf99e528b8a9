"""Storable proxies: lambdas that use `current_app` and similar proxies store their names, not their present values.

`make_storable` registers it with `copyreg`, for the whole process. Other proxies are pickled as usual.
"""

from __future__ import annotations

import copyreg
import pickle
from typing import Any

from flask import globals as flask_globals
from werkzeug.local import LocalProxy

NAMES = ("current_app", "g", "request", "session")


def proxy(name: str) -> Any:
    """Return Flask's proxy of that name; called where the function is loaded again."""
    return getattr(flask_globals, name)


def _reduce(given: Any) -> Any:
    for name in NAMES:
        if proxy(name) is given:
            return proxy, (name,)
    return given.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def make_storable() -> None:
    """Make Flask's proxies storable in this process."""
    copyreg.pickle(LocalProxy, _reduce)
