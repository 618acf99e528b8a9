"""Rows that an earlier version wrote name embedq's modules as they were called then."""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import fields
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cloudpickle
import pytest

from embedq import EmbedQ, Misfire, Options, Retry
from embedq.serializers import lacking_types, loads_value
from embedq.tasks.functions import resolve
from embedq.tasks.moved import MOVED
from embedq.tasks.pickled import PYTHON, PackedFunction, unpack
from embedq.tasks.retry import NO_RETRY
from embedq.tasks.task import Task


def stored(pickle: bytes) -> PackedFunction:
    return PackedFunction(name="shop:<lambda>", pickle=b2a_base64(pickle, newline=False).decode(), python=PYTHON)


@pytest.mark.parametrize(("former", "now"), MOVED.items())
def test_every_module_that_has_moved_is_found_where_it_is_now(former: str, now: str) -> None:
    import_module(now)
    assert find_spec(former) is None, "it is still there"


def test_a_pickle_may_name_what_was_elsewhere() -> None:
    assert unpack(stored(b"cembedq.retry\nRetry\n.")) is Retry
    assert unpack(stored(b"cembedq.app\nEmbedQ\n.")) is EmbedQ


def test_a_pickle_may_take_a_module_along_that_was_elsewhere() -> None:
    # cloudpickle does with `embedq.options`, for a lambda in which `embedq` and `options` are words.
    module = b"ccloudpickle.cloudpickle\nsubimport\n(Vembedq.options\ntR"
    assert unpack(stored(b"cbuiltins\ngetattr\n(" + module + b"VOptions\ntR.")) is Options
    elsewhere = b"ccloudpickle.cloudpickle\nsubimport\n(Vdatetime\ntR"
    assert unpack(stored(b"cbuiltins\ngetattr\n(" + elsewhere + b"Vtimedelta\ntR.")) is timedelta


def test_an_argument_may_be_of_a_type_that_was_elsewhere() -> None:
    text = '{"$":["dataclass",["embedq.misfire:Misfire",{"policy":"once"}]]}'
    assert lacking_types(text) == []
    assert isinstance(loads_value(text), Misfire)


def test_a_name_may_lead_to_what_was_elsewhere() -> None:
    assert resolve("embedq.retry:Retry") is Retry is type(NO_RETRY)


def test_a_stored_function_may_refer_to_a_task_as_earlier_versions_stored_it() -> None:
    task = Task(len, name="len", registered=True).options(queue="low")
    state = task.__getstate__()
    # The attributes that Task had when it was first released.
    assert {"wanted", "overrides", "defaults", "executor"} <= state.keys()
    assert not {"effective", "resolved"} & state.keys()
    read: Task[..., int] = cloudpickle.loads(cloudpickle.dumps(task))
    assert (read.effective, read.resolved) == (task.effective, None)
    assert read.options(priority=1).effective == Options(queue="low", priority=1)


def test_options_in_a_stored_function_may_have_fewer_or_more_values_than_today() -> None:
    options = Options(queue="low", priority=2, on_lost_contact="keep")
    state: Any = options.__getstate__()
    earlier, later = Options(), Options()
    earlier.__setstate__(state[: [item.name for item in fields(Options)].index("on_lost_contact")])
    later.__setstate__([*state, "of a later version"])
    assert (earlier, later) == (Options(queue="low", priority=2), options)
    assert cloudpickle.loads(cloudpickle.dumps(options)) == options
