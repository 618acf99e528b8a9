"""Functions by value: what is stored comes back, and what cannot be stored is named."""

import functools
import importlib
import sys
import threading
from binascii import a2b_base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedq.errors import (
    PayloadTooLargeError,
    PythonVersionError,
    UnknownTaskError,
    UnstorableFunctionError,
    UntrustedCodeError,
)
from embedq.tasks.functions import display_name, is_async
from embedq.tasks.pickled import PYTHON, PackedFunction, pack, source_of, unpack
from tests.support import Child
from tests.tasks.callables import (
    ANSWER,
    HERE,
    LoudMailer,
    Mailer,
    SyncCallable,
    hidden,
    module_lambda,
    nested,
    partial_of_plain,
    plain,
)

LIMIT = 100_000
LOCK = threading.Lock()


def uses_a_lock() -> Any:
    return LOCK.locked()


def returns_a_lambda() -> Any:
    number = 40
    return lambda more: number + more


@pytest.mark.parametrize(
    ("function", "args", "result", "name"),
    [
        (module_lambda, (), ANSWER, f"{HERE}:<lambda>"),
        (returns_a_lambda(), (2,), 42, f"{__name__}:returns_a_lambda.<locals>.<lambda>"),
        (nested(), (), "inner", f"{HERE}:nested.<locals>.inner"),
        (partial_of_plain, ("y",), (7, "y", False), f"partial({HERE}:plain)"),
        (SyncCallable(), (), "called", f"{HERE}:SyncCallable()"),
        (hidden, (), None, f"{HERE}:hiding.<locals>.wrapper"),
    ],
)
def test_a_function_by_value_comes_back(function: Any, args: Any, result: Any, name: Any) -> None:
    packed = pack(function, limit=LIMIT)
    stored = PackedFunction.from_text(packed.to_text())
    assert stored == packed
    assert (packed.name, packed.python) == (name, PYTHON)
    assert display_name(function) == name
    assert unpack(stored)(*args) == result


def test_a_coroutine_function_by_value_stays_one() -> None:
    async def inner() -> None:
        pass

    assert is_async(unpack(pack(inner, limit=LIMIT)))


def test_a_lambda_of_an_importable_module_is_stored_by_value_and_its_helpers_by_reference() -> None:
    packed = pack(lambda: plain(1), limit=LIMIT)
    assert unpack(packed)() == plain(1)
    assert unpack(packed).__globals__["plain"] is plain
    assert packed.pickle is not None
    assert b"LIMIT" not in a2b_base64(packed.pickle)
    assert b"plain" in a2b_base64(packed.pickle)


def test_a_lambda_runs_in_another_process_without_its_script() -> None:
    script = """
        from embedq.tasks.pickled import pack
        helper = lambda: 41
        print(pack(lambda: helper() + 1, limit=10_000).pickle)
    """
    pickled = Child(script).finish().strip()
    assert unpack(PackedFunction(pickle=pickled, python=PYTHON))() == 42


def test_a_row_that_only_carries_a_signature_has_only_that() -> None:
    packed = PackedFunction(sig="ab", key="cd")
    assert packed.to_text() == '{"sig":"ab","key":"cd"}'
    assert PackedFunction.from_text(packed.to_text()) == packed


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"pickle":1}', '{"pickle":null}', "[" * 100_000])
def test_code_that_is_no_code_is_untrusted(text: Any) -> None:
    with pytest.raises(UntrustedCodeError, match="cannot be read"):
        PackedFunction.from_text(text)


def test_a_method_of_an_instance_is_refused_with_advice() -> None:
    methods: list[Callable[..., Any]] = [Mailer().send, functools.partial(Mailer().send), [].append, "".join]
    for method in methods:
        with pytest.raises(UnstorableFunctionError, match=r"is a method of an instance.*pass the id of the"):
            pack(method, limit=LIMIT)
    assert unpack(pack(LoudMailer.make, limit=LIMIT))() is LoudMailer


def test_what_cannot_be_called_is_refused_with_advice() -> None:
    with pytest.raises(UnstorableFunctionError, match=r"a tuple is not callable; .*enqueue\(send, 1\)"):
        pack(plain(1), limit=LIMIT)


def closes_over(connection: Any) -> Any:
    return lambda: connection


def has_default(connection: Any = LOCK) -> Any:
    return connection


def guarded(function: Any) -> Any:
    lock = threading.Lock()

    @functools.wraps(function)
    def wrapper() -> Any:
        with lock:
            return function()

    return wrapper


def calls(function: Any) -> Any:
    return lambda: function()


def helps() -> Any:
    def helper() -> Any:
        return LOCK

    return lambda: helper()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (closes_over(LOCK), "the variable 'connection' is a lock, which has no stored form"),
        (closes_over(threading.local()), "the variable 'connection' is a _local"),
        (closes_over(i for i in "ab"), "the variable 'connection' is a generator"),
        (lambda: LOCK.locked(), "the global 'LOCK' is a lock"),
        (lambda: [LOCK for _ in "ab"], "the global 'LOCK' is a lock"),
        (lambda connection=LOCK: connection, "a default value is a lock"),
        (helps(), "in the variable 'helper', the global 'LOCK' is a lock"),
        (guarded(lambda: 1), "the variable 'lock' is a lock"),
        (guarded(closes_over(LOCK)), "in the variable 'function', the variable 'connection' is a lock"),
        (calls(functools.partial(plain, LOCK)), "in the variable 'function', argument 0 of the partial is a lock"),
        (functools.partial(closes_over(LOCK)), "in its function, the variable 'connection' is a lock"),
        (functools.partial(plain, LOCK), "argument 0 of the partial is a lock"),
        (functools.partial(plain, template=LOCK), "argument 'template' of the partial is a lock"),
    ],
)
def test_the_variable_that_cannot_be_stored_is_named(function: Any, message: Any) -> None:
    with pytest.raises(UnstorableFunctionError, match=message) as caught:
        pack(function, limit=LIMIT)
    assert "pass an id as an argument" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_what_an_importable_function_uses_does_not_matter() -> None:
    assert unpack(pack(lambda: uses_a_lock(), limit=LIMIT))() is False


def test_a_large_closure_is_refused_with_its_size() -> None:
    blob = "x" * 50_000
    with pytest.raises(PayloadTooLargeError, match=r"is 6\d,\d+ bytes when stored, over the limit of 10,000"):
        pack(lambda: blob, limit=10_000)


def test_another_python_version_is_said_before_anything_is_unpickled() -> None:
    packed = PackedFunction(name="shop:<lambda>", pickle="not a pickle", python="3.99")
    with pytest.raises(PythonVersionError, match=r"stored by Python 3\.99 and this is") as caught:
        unpack(packed)
    assert caught.value.needs == "python 3.99"


def test_a_module_that_is_gone_is_an_unknown_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "short_lived.py").write_text("def help():\n    return 1\n")
    short_lived = importlib.import_module("short_lived")

    packed = pack(lambda: short_lived.help(), limit=LIMIT)
    assert unpack(packed)() == 1
    (tmp_path / "short_lived.py").unlink()
    del sys.modules["short_lived"]
    with pytest.raises(UnknownTaskError, match="ModuleNotFoundError: No module named 'short_lived'") as caught:
        unpack(packed)
    assert caught.value.needs == "module short_lived"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("pickled", ["", "AAAA", "é", "gASVCQAAAAAAAACMBWhlbGxvlC4="])
def test_a_pickle_of_no_function_is_an_unknown_task(pickled: Any) -> None:
    with pytest.raises(UnknownTaskError):
        unpack(PackedFunction(name="shop:<lambda>", pickle=pickled, python=PYTHON))


# --- source


def test_the_source_of_a_lambda_is_the_statement_around_it() -> None:
    chosen = [
        1,
        lambda: "second line",
    ]
    assert source_of(chosen[1]) == 'chosen = [\n    1,\n    lambda: "second line",\n]'
    if chosen:
        found = source_of(lambda: 2)
    assert found == "found = source_of(lambda: 2)"
    assert source_of(module_lambda) == "module_lambda = lambda: ANSWER  # noqa: E731"


def test_the_source_of_a_nested_function_is_dedented() -> None:
    assert source_of(nested()) == 'def inner() -> str:\n    return "inner"'
    assert source_of(functools.partial(nested())) == 'def inner() -> str:\n    return "inner"'


def test_source_that_is_not_there_is_none() -> None:
    namespace: dict[str, Any] = {}
    exec("f = lambda: 1", namespace)
    assert source_of(namespace["f"]) is None
    assert source_of(len) is None
    assert source_of(SyncCallable()) is None


def test_long_source_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "long_module.py").write_text("def make():\n    return lambda: [\n" + "        1,\n" * 1000 + "    ]\n")
    long_module = importlib.import_module("long_module")

    source = source_of(long_module.make())
    assert source is not None
    assert source.startswith("return lambda: [\n    1,\n")
    assert source.endswith("\n...")
    assert len(source) < 2010


def test_source_that_changed_since_it_was_imported_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "edited_module.py"
    path.write_text("first = lambda: 1\n")
    edited_module = importlib.import_module("edited_module")

    path.write_text("# nothing is left of it here\n")
    assert source_of(edited_module.first) is None


def test_equal_code_in_two_files_has_the_source_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "twin_one.py").write_text("first = lambda: 1\n")
    (tmp_path / "twin_two.py").write_text("other = lambda: 1\n")
    twin_one = importlib.import_module("twin_one")
    twin_two = importlib.import_module("twin_two")

    assert twin_one.first.__code__ == twin_two.other.__code__
    assert source_of(twin_one.first) == "first = lambda: 1"
    assert source_of(twin_two.other) == "other = lambda: 1"


def test_source_that_is_cut_off_in_the_middle_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "half_module.py"
    path.write_text("def make():\n    def inner():\n        return 1\n    return inner\n")
    half_module = importlib.import_module("half_module")

    path.write_text("def make():\n    def inner(\n        (\n")
    packed = pack(half_module.make(), limit=LIMIT)
    assert packed.source is None
    assert unpack(packed)() == 1
