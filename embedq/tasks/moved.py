"""Modules of embedq that have moved. Rows that an earlier version wrote contain their former names.

They are in three places: the name of a function, the name of an argument's type, and inside the pickle of a function
that is stored by value. cloudpickle names there what the function uses, and also every module of embedq whose name is a
word in it: the pickle of `lambda: embedq.options(queue="low").enqueue(send)` named the module `embedq.options`.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

_MOVED = {
    "flow": "guard",
    "display": "readable=calls redaction wording=units",
    "observability": "log outage",
    "process": "faults hosting interrupts job_process liveness offload own_folder own_threads shutdown supervision "
    "suspicion=poison wakeup",
    "tasks": "arguments by_value=pickled context functions handle middleware options retry signing "
    "stored_retry=retry_json task",
    "scheduling": "cron_expression=cron misfire schedule",
    "storage": "damage",
    "maintenance": "maintenance.recurring=scheduler",
    "engine": "commit_hooks control=stored_jobs drafting=job_builder enqueueing held=deferred recurring runtime "
    "transactions waiting",
    "operations": "action_runner actions coming=upcoming monitor moving=copy preflight",
}
MOVED = {
    f"embedq.{former}": f"embedq.{room}.{now or former}"
    for room, modules in _MOVED.items()
    for former, _, now in (module.partition("=") for module in modules.split())
}


def today(name: str) -> str:
    """Return `module:qualname` with the module's present name."""
    module, colon, qualname = name.partition(":")
    return f"{MOVED.get(module, module)}{colon}{qualname}"


def unpickle(data: bytes) -> Any:
    """Load what `cloudpickle.dumps` wrote, in this or an earlier version. It runs code, and raises what that raises."""
    from io import BytesIO

    return _unpickler()(BytesIO(data)).load()


@lru_cache(maxsize=1)
def _unpickler() -> type[Any]:
    # Made when it is needed: few processes read pickles.
    from pickle import Unpickler

    class Mover(Unpickler):
        def find_class(self, module: str, name: str, /) -> Any:
            found = super().find_class(MOVED.get(module, module), name)
            # cloudpickle imports the modules that a pickle names through this function.
            return _import if module.startswith("cloudpickle") and name == "subimport" else found

    return Mover


def _import(name: str) -> ModuleType:
    from cloudpickle.cloudpickle import subimport

    module: ModuleType = subimport(MOVED.get(name, name))
    return module
