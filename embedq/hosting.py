"""What the web server around this process makes of threads. Where they do not run, no job does."""

from __future__ import annotations

import sys
from collections.abc import Mapping

_NO = ("", "0", "false", "no", "off", "none")


def troubles(modules: Mapping[str, object] = sys.modules) -> list[str]:
    """What keeps embedq's threads from running in this process, with what to do; nothing is imported."""
    found = []
    options = getattr(modules.get("uwsgi"), "opt", None)
    if isinstance(options, Mapping):
        found += _uwsgi({_text(name): _text(value) for name, value in options.items()})
    monkey = modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):  # type: ignore[attr-defined]
        found.append(_green("gevent"))
    patcher = modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):  # type: ignore[attr-defined]
        found.append(_green("eventlet"))
    return found


def _uwsgi(options: Mapping[str, str]) -> list[str]:
    def on(name: str) -> bool:
        return options.get(name, "").lower() not in _NO

    if not (on("enable-threads") or on("threads") or on("gevent")):
        return ["uWSGI runs without --enable-threads, so no thread of any library runs: no job will. Add it"]
    forks = on("master") and options.get("lazy-apps", options.get("lazy", "")).lower() in _NO
    if forks and not on("py-call-uwsgi-fork-hooks"):
        return [
            "uWSGI forks its workers from this process without telling Python, so jobs would run in the master or not "
            "at all. Add --lazy-apps, or --py-call-uwsgi-fork-hooks"
        ]
    return []


def _green(library: str) -> str:
    return (
        f"{library} has patched threading, so embedq's workers are greenlets: a job that computes stops everything in "
        "this process, its heartbeat and the requests too. Run jobs in a process of their own (embedq worker), and let "
        "this one only enqueue: embedq.connect()"
    )


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
