"""Advice in error messages: what to pass in place of a value that has no stored form."""

from __future__ import annotations

_ROW = "its id and load it in the job, where it is fresh"
_REQUEST = "the values that the job needs from it"
_CONNECTION = "what it takes to connect, and connect in the job"
_LIST = "list() of it"
_TRANSLATED = "str() of it, in the language that is active where the job is enqueued"

# By a class that it extends. These are names, because most of the classes are not imported.
_INSTEAD = {
    "_io._IOBase": "its path and open it in the job",
    "_thread.lock": "a name: a lock lives in one process",
    "_thread.RLock": "a name: a lock lives in one process",
    "threading.Condition": "a name: a lock lives in one process",
    "threading.Semaphore": "a name: a lock lives in one process",
    "threading.Event": "a name: an event lives in one process",
    "_socket.socket": _CONNECTION,
    "sqlite3.Connection": _CONNECTION,
    "sqlite3.Cursor": _CONNECTION,
    "werkzeug.local.LocalProxy": _REQUEST,
    "starlette.requests.HTTPConnection": _REQUEST,
    "django.db.models.base.Model": _ROW,
    "django.db.models.query.QuerySet": "a list of ids and load them in the job",
    "peewee.Model": _ROW,
    "tortoise.models.Model": _ROW,
    "pydantic.main.BaseModel": "its model_dump()",
    "numpy.ndarray": "its tolist()",
    "numpy.generic": "its item()",
    "logging.Logger": "its name",
    "builtins.generator": _LIST,
    "builtins.async_generator": "a list of what it gives",
    "builtins.coroutine": "what it returns, awaited",
    "builtins.range": _LIST,
    "builtins.map": _LIST,
    "builtins.filter": _LIST,
    "builtins.zip": _LIST,
    "builtins.dict_keys": _LIST,
    "builtins.dict_values": _LIST,
    "builtins.dict_items": _LIST,
    "concurrent.futures._base.Future": "its result()",
    "_asyncio.Future": "what it gives, awaited",
    "collections.deque": _LIST,
    "builtins.memoryview": "bytes() of it",
    "builtins.function": "its name",
    "builtins.builtin_function_or_method": "its name",
    "builtins.method": "its name",
    "builtins.type": "its name",
    "builtins.module": "its name",
    "builtins.BaseException": "str() of it",
    "builtins.mappingproxy": "dict() of it",
    "collections.abc.Mapping": "dict() of it",
    "collections.UserList": _LIST,
    "collections.UserString": "str() of it",
    "builtins.tuple": "tuple() of it",
    "datetime.datetime": "a plain datetime",
    "django.utils.functional.Promise": _TRANSLATED,
}
# By the end of the class's name, for the many libraries that have one.
_INSTEAD_BY_ENDING = {
    "Request": _REQUEST,
    "Connection": _CONNECTION,
    "Cursor": _CONNECTION,
    "Session": _CONNECTION,
    "Engine": _CONNECTION,
    "Client": _CONNECTION,
    # Babel's, and those of similar libraries.
    "LazyProxy": _TRANSLATED,
    "LazyString": _TRANSLATED,
}


def instead_of(kind: type) -> str | None:
    """Return what to pass in place of an instance of `kind`; None if there is nothing better than an id."""
    if is_mapped(kind):
        return _ROW
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    for name in names:
        if name in _INSTEAD:
            return _INSTEAD[name]
    for ending, instead in _INSTEAD_BY_ENDING.items():
        if any(name.endswith(ending) for name in names):
            return instead
    return None


def is_mapped(kind: type) -> bool:
    """Whether SQLAlchemy keeps its instances in a table. Some of its classes are dataclasses too."""
    return hasattr(kind, "__mapper__")
