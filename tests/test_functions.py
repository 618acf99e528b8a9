"""Functions by name and by value, in this process and between processes."""

import functools
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import types
import weakref
from binascii import a2b_base64
from pathlib import Path

import pytest

from embedq.errors import (
    PayloadTooLargeError,
    PythonVersionError,
    SignatureError,
    UnknownTaskError,
    UnstorableFunctionError,
    UntrustedCodeError,
)
from embedq.functions import (
    PYTHON,
    PackedFunction,
    check_signature,
    display_name,
    find_imported,
    is_async,
    main_name,
    module_name,
    name_of,
    pack,
    resolve,
    source_of,
    unpack,
)

ROOT = Path(__file__).parent.parent
LIMIT = 100_000
HERE = __name__
LOCK = threading.Lock()


def plain(user_id, template="x", *, urgent=False):
    return (user_id, template, urgent)


async def coroutine(user_id):
    return user_id


def uses_a_lock():
    return LOCK.locked()


def louder(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    wrapper.original = function
    return wrapper


def hiding(function):
    def wrapper(*args):
        return function(*args)

    wrapper.original = function
    return wrapper


@louder
def wrapped():
    pass


@hiding
def hidden():
    pass


class Mailer:
    def send(self):
        return "sent"

    @staticmethod
    def static():
        return "static"

    @classmethod
    def make(cls):
        return cls

    class Inner:
        @classmethod
        def deep(cls):
            return "deep"


class LoudMailer(Mailer):
    pass


class AsyncCallable:
    async def __call__(self):
        pass


class SyncCallable:
    def __call__(self):
        return "called"


module_lambda = lambda: LIMIT  # noqa: E731
partial_of_plain = functools.partial(plain, 7)


def nested():
    def inner():
        return "inner"

    return inner


def run(source, *args, cwd, code=0, **environment):
    done = subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout.split()


# --- by name


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain, f"{HERE}:plain"),
        (coroutine, f"{HERE}:coroutine"),
        (Mailer, f"{HERE}:Mailer"),
        (Mailer.static, f"{HERE}:Mailer.static"),
        (Mailer.make, f"{HERE}:Mailer.make"),
        (Mailer.Inner.deep, f"{HERE}:Mailer.Inner.deep"),
        (Mailer.send, f"{HERE}:Mailer.send"),
        (wrapped, f"{HERE}:wrapped"),
        (len, "builtins:len"),
        (json.dumps, "json:dumps"),
        (os.path.join, "posixpath:join" if os.name == "posix" else "ntpath:join"),
    ],
)
def test_a_name_leads_back_to_its_function(function, name):
    assert name_of(function) == name
    assert resolve(name) == function


@pytest.mark.parametrize(
    "function",
    [
        module_lambda,
        lambda: None,
        nested(),
        hidden,
        wrapped.original,
        hidden.original,
        Mailer().send,
        LoudMailer.make,
        partial_of_plain,
        SyncCallable(),
        "abc".upper,
        [].append,
        3,
        None,
    ],
)
def test_what_no_name_leads_back_to_has_none(function):
    assert name_of(function) is None


def test_a_function_that_was_replaced_in_its_module_has_no_name(monkeypatch):
    replaced = plain
    monkeypatch.setattr(sys.modules[__name__], "plain", lambda: None)
    assert name_of(replaced) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shop", "not of the form module:qualname"),
        (":send", "not of the form"),
        ("shop:", "not of the form"),
        ("no_such_module:send", "importing 'no_such_module' failed with ModuleNotFoundError"),
        ("no_such.module:send", "failed with ModuleNotFoundError"),
        (".relative:send", "failed with TypeError"),
        (f"{HERE}:gone", f"module '{HERE}' has no 'gone'.*aliases"),
        (f"{HERE}:Mailer.gone.deeper", "has no 'Mailer.gone.deeper'"),
        (f"{HERE}:nested.<locals>.inner", "has no"),
        (f"{HERE}:LIMIT", "that is a int and cannot be called"),
    ],
)
def test_a_name_that_leads_nowhere_says_why(name, message):
    with pytest.raises(UnknownTaskError, match=message) as caught:
        resolve(name)
    assert caught.value.needs == f"task {name}"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_dependency", ModuleNotFoundError),
        ("1 / 0", ZeroDivisionError),
        ("def broken(:", SyntaxError),
        ("raise SystemExit(3)", SystemExit),
    ],
)
def test_a_module_that_fails_to_import_is_an_unknown_task_with_its_cause(tmp_path, monkeypatch, source, cause):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_module.py").write_text(source)
    with pytest.raises(UnknownTaskError, match=cause.__name__) as caught:
        resolve("failing_module:send")
    assert isinstance(caught.value.__cause__, cause)


def test_resolving_imports_the_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fresh_module.py").write_text("def send():\n    return 'fresh'\n")
    assert find_imported("fresh_module:send") is None
    assert resolve("fresh_module:send")() == "fresh"
    assert find_imported("fresh_module:send") is resolve("fresh_module:send")


def test_finding_what_is_imported_runs_no_code(monkeypatch):
    module = types.ModuleType("lazy_module")
    ran = []
    module.__getattr__ = lambda name: ran.append(name)
    module.Alarm = type("Alarm", (), {"bell": property(lambda self: ran.append("property"))})
    module.alarm = module.Alarm()
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    assert find_imported("lazy_module:missing") is None
    assert find_imported("lazy_module:alarm.bell") is None
    assert find_imported("lazy_module:Alarm") is module.Alarm
    for name in ("", ":", "lazy_module", "lazy_module:", "lazy_module:.", "no_such_module:x", "\ud800:\x00"):
        assert find_imported(name) is None
    assert ran == []


# --- the running script

SHOP = """
import sys
from dataclasses import dataclass

from embedq.functions import display_name, find_imported, module_name, name_of, resolve

def send():
    return __name__

class Order:
    class Line:
        pass

if __name__ == "__main__":
    print(name_of(send), name_of(Order.Line), display_name(lambda: 1), module_name(send))
    print(resolve(name_of(send)) is send, find_imported(name_of(Order)) is Order)
"""


def test_functions_of_a_script_are_stored_under_its_own_name(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    expected = ["shop:send", "shop:Order.Line", "shop:<lambda>", "shop", "True", "True"]
    assert run("", "shop.py", cwd=tmp_path) == expected
    assert run("", "-m", "shop", cwd=tmp_path) == expected
    assert run("", str(tmp_path / "shop.py"), cwd="/") == expected


def test_another_process_finds_them_by_importing_the_script(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    source = "from embedq.functions import resolve; print(resolve('shop:send')())"
    assert run("", "-c", source, cwd=tmp_path) == ["shop"]


def test_a_package_run_with_m_goes_by_the_packages_name(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/__init__.py").write_text("def pay():\n    return 'paid'\n")
    (tmp_path / "store/__main__.py").write_text(SHOP.replace("is Order)", "is Order, resolve('store:pay')())"))
    assert run("", "-m", "store", cwd=tmp_path) == [
        *("store:send", "store:Order.Line", "store:<lambda>", "store", "True", "True", "paid")
    ]


def test_a_second_import_of_the_script_is_never_used(tmp_path):
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
            import sys
            from embedq.errors import UnknownTaskError
            from embedq.functions import find_imported, name_of, resolve

            def send(): pass

            def hidden(): pass

            if __name__ == "__main__":
                del hidden
                assert "shop" not in sys.modules
                try:
                    resolve("shop:hidden")
                except UnknownTaskError as error:
                    print("refused" if "the running script has no 'hidden'" in str(error) else error)
                assert "shop" not in sys.modules
                import shop
                assert shop.send is not send
                print(name_of(shop.send), resolve("shop:send") is send, find_imported("shop:send") is send)
                print(name_of(shop.hidden), find_imported("shop:hidden"))
        """)
    )
    assert run("", "shop.py", cwd=tmp_path) == ["refused", "shop:send", "True", "True", "None", "None"]


def test_a_script_that_is_named_like_a_module_does_not_hide_it(tmp_path):
    """As with the command `pytest` and the package pytest."""
    (tmp_path / "json").mkdir()
    (tmp_path / "json/calendar").write_text(
        "from embedq.functions import main_name, resolve\n"
        "print(main_name(), resolve('calendar:monthrange')(2027, 2)[1])"
    )
    assert run("", "json/calendar", cwd=tmp_path) == ["calendar", "28"]


def test_a_prompt_has_only_main():
    source = "from embedq.functions import *\ndef f(): pass\nprint(main_name(), name_of(f), resolve('__main__:f') is f)"
    assert run(source, "-", cwd=ROOT) == ["__main__", "__main__:f", "True"]
    assert run("", "-c", source, cwd=ROOT) == ["__main__", "__main__:f", "True"]


def test_a_spawned_process_knows_the_script_by_the_same_name(tmp_path):
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
            import multiprocessing
            from embedq.functions import module_name, name_of, resolve

            def send(): pass

            def child():
                print(name_of(send), module_name(send), resolve("shop:send") is send)

            if __name__ == "__main__":
                process = multiprocessing.get_context("spawn").Process(target=child)
                process.start()
                process.join()
        """)
    )
    assert run("", "shop.py", cwd=tmp_path) == ["shop:send", "shop", "True"]
    assert run("", "-m", "shop", cwd=tmp_path) == ["shop:send", "shop", "True"]


def test_under_pytest_the_main_module_is_not_this_one():
    assert main_name() != __name__
    assert module_name(plain) == __name__
    assert module_name(partial_of_plain) == "functools"


# --- by value


def returns_a_lambda():
    number = 40
    return lambda more: number + more


@pytest.mark.parametrize(
    ("function", "args", "result", "name"),
    [
        (module_lambda, (), LIMIT, f"{HERE}:<lambda>"),
        (returns_a_lambda(), (2,), 42, f"{HERE}:returns_a_lambda.<locals>.<lambda>"),
        (nested(), (), "inner", f"{HERE}:nested.<locals>.inner"),
        (partial_of_plain, ("y",), (7, "y", False), f"partial({HERE}:plain)"),
        (SyncCallable(), (), "called", f"{HERE}:SyncCallable()"),
        (hidden, (), None, f"{HERE}:hiding.<locals>.wrapper"),
    ],
)
def test_a_function_by_value_comes_back(function, args, result, name):
    packed = pack(function, limit=LIMIT)
    stored = PackedFunction.from_text(packed.to_text())
    assert stored == packed
    assert (packed.name, packed.python) == (name, PYTHON)
    assert display_name(function) == name
    assert unpack(stored)(*args) == result


def test_a_coroutine_function_by_value_stays_one():
    async def inner():
        pass

    assert is_async(unpack(pack(inner, limit=LIMIT)))


def test_a_lambda_of_an_importable_module_is_stored_by_value_and_its_helpers_by_reference():
    packed = pack(lambda: plain(1), limit=LIMIT)
    assert unpack(packed)() == plain(1)
    assert unpack(packed).__globals__["plain"] is plain
    assert b"LIMIT" not in a2b_base64(packed.pickle)
    assert b"plain" in a2b_base64(packed.pickle)


def test_a_lambda_runs_in_another_process_without_its_script(tmp_path):
    (tmp_path / "script.py").write_text(
        "from embedq.functions import pack\nhelper = lambda: 41\nprint(pack(lambda: helper() + 1, limit=10_000).pickle)"
    )
    [pickled] = run("", "script.py", cwd=tmp_path)
    assert unpack(PackedFunction(pickle=pickled, python=PYTHON))() == 42


def test_a_row_that_only_carries_a_signature_has_only_that():
    packed = PackedFunction(sig="ab", key="cd")
    assert packed.to_text() == '{"sig":"ab","key":"cd"}'
    assert PackedFunction.from_text(packed.to_text()) == packed


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"pickle":1}', '{"pickle":null}', "[" * 100_000])
def test_code_that_is_no_code_is_untrusted(text):
    with pytest.raises(UntrustedCodeError, match="not readable"):
        PackedFunction.from_text(text)


def test_a_method_of_an_instance_is_refused_with_advice():
    for method in (Mailer().send, functools.partial(Mailer().send), [].append, "".join):
        with pytest.raises(UnstorableFunctionError, match=r"is a method of an instance.*pass the id of the"):
            pack(method, limit=LIMIT)
    assert unpack(pack(LoudMailer.make, limit=LIMIT))() is LoudMailer


def test_what_cannot_be_called_is_refused_with_advice():
    with pytest.raises(UnstorableFunctionError, match=r"a tuple is not callable; .*enqueue\(send, 1\)"):
        pack(plain(1), limit=LIMIT)


def closes_over(connection):
    return lambda: connection


def has_default(connection=LOCK):
    return connection


def helps():
    def helper():
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
        (functools.partial(plain, LOCK), "argument 0 of the partial is a lock"),
        (functools.partial(plain, template=LOCK), "argument 'template' of the partial is a lock"),
    ],
)
def test_the_variable_that_cannot_be_stored_is_named(function, message):
    with pytest.raises(UnstorableFunctionError, match=message) as caught:
        pack(function, limit=LIMIT)
    assert "pass an id as an argument" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_what_an_importable_function_uses_does_not_matter():
    assert unpack(pack(lambda: uses_a_lock(), limit=LIMIT))() is False


def test_a_large_closure_is_refused_with_its_size():
    blob = "x" * 50_000
    with pytest.raises(PayloadTooLargeError, match=r"is 6\d,\d+ bytes when stored, over the limit of 10,000"):
        pack(lambda: blob, limit=10_000)


def test_another_python_version_is_said_before_anything_is_unpickled():
    packed = PackedFunction(name="shop:<lambda>", pickle="not a pickle", python="3.99")
    with pytest.raises(PythonVersionError, match=r"stored by Python 3\.99 and this is") as caught:
        unpack(packed)
    assert caught.value.needs == "python 3.99"


def test_a_module_that_is_gone_is_an_unknown_task(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "short_lived.py").write_text("def help():\n    return 1\n")
    import short_lived

    packed = pack(lambda: short_lived.help(), limit=LIMIT)
    assert unpack(packed)() == 1
    (tmp_path / "short_lived.py").unlink()
    del sys.modules["short_lived"]
    with pytest.raises(UnknownTaskError, match="ModuleNotFoundError: No module named 'short_lived'") as caught:
        unpack(packed)
    assert caught.value.needs == "module short_lived"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("pickled", ["", "AAAA", "é", "gASVCQAAAAAAAACMBWhlbGxvlC4="])
def test_a_pickle_of_no_function_is_an_unknown_task(pickled):
    with pytest.raises(UnknownTaskError):
        unpack(PackedFunction(name="shop:<lambda>", pickle=pickled, python=PYTHON))


# --- source


def test_the_source_of_a_lambda_is_the_statement_around_it():
    chosen = [
        1,
        lambda: "second line",
    ]
    assert source_of(chosen[1]) == 'chosen = [\n    1,\n    lambda: "second line",\n]'
    if chosen:
        found = source_of(lambda: 2)
    assert found == "found = source_of(lambda: 2)"
    assert source_of(module_lambda) == "module_lambda = lambda: LIMIT  # noqa: E731"


def test_the_source_of_a_nested_function_is_dedented():
    assert source_of(nested()) == 'def inner():\n    return "inner"'
    assert source_of(functools.partial(nested())) == 'def inner():\n    return "inner"'


def test_source_that_is_not_there_is_none():
    namespace: dict = {}
    exec("f = lambda: 1", namespace)
    assert source_of(namespace["f"]) is None
    assert source_of(len) is None
    assert source_of(SyncCallable()) is None


def test_long_source_is_cut(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "long_module.py").write_text("def make():\n    return lambda: [\n" + "        1,\n" * 1000 + "    ]\n")
    import long_module

    source = source_of(long_module.make())
    assert source.startswith("return lambda: [\n    1,\n")
    assert source.endswith("\n...")
    assert len(source) < 2010


def test_source_that_changed_since_it_was_imported_is_none(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "edited_module.py"
    path.write_text("first = lambda: 1\n")
    import edited_module

    path.write_text("# nothing is left of it here\n")
    assert source_of(edited_module.first) is None


# --- calling


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (coroutine, True),
        (functools.partial(functools.partial(coroutine), 1), True),
        (AsyncCallable(), True),
        (AsyncCallable().__call__, True),
        (functools.partial(AsyncCallable()), True),
        (plain, False),
        (AsyncCallable, False),
        (SyncCallable(), False),
        (len, False),
        (wrapped, False),
        (louder(coroutine), False),
    ],
)
def test_what_makes_a_coroutine_when_called(function, answer):
    assert is_async(function) is answer


def takes_anything(*args, **kwargs):
    pass


def needs_a_keyword(first, *, second):
    pass


def positional_only(first, /, second=2):
    pass


CALLS = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
NAMES = [{}, {"user_id": 1}, {"template": 1}, {"urgent": 1}, {"first": 1}, {"second": 1}, {"user_id": 1, "urgent": 2}]


@pytest.mark.parametrize(
    "function",
    [
        *(plain, coroutine, takes_anything, needs_a_keyword, positional_only, wrapped, partial_of_plain),
        *(Mailer, Mailer().send, Mailer.make, SyncCallable(), len, isinstance),
        *(lambda: 0, lambda first, *rest: 0, lambda *, second=1: 0),
    ],
)
def test_arguments_are_refused_exactly_when_a_call_would_refuse_them(function):
    import inspect

    check = check_signature(function)
    for _ in range(2):  # what fitted once is remembered
        for args in CALLS:
            for kwargs in NAMES:
                try:
                    inspect.signature(function).bind(*args, **kwargs)
                except TypeError:
                    with pytest.raises(SignatureError):
                        check(args, kwargs)
                else:
                    check(args, kwargs)


def test_the_error_has_the_function_its_signature_and_the_mistake():
    with pytest.raises(SignatureError) as caught:
        check_signature(plain)((), {"template": "y"})
    assert str(caught.value) == (
        f"the arguments do not fit {HERE}:plain(user_id, template='x', *, urgent=False): "
        "missing a required argument: 'user_id'; nothing was enqueued"
    )


def test_a_function_without_a_signature_takes_anything():
    class Odd:
        __signature__ = "none"

        def __call__(self):
            pass

    check_signature(Odd())((1, 2), {"three": 3})
    check_signature(dict)((1, 2, 3), {})


def test_the_check_of_a_function_is_made_once_and_goes_with_it():
    def short_lived(first):
        pass

    assert check_signature(short_lived) is check_signature(short_lived)
    gone = weakref.ref(short_lived)
    del short_lived
    gc.collect()
    assert gone() is None


def test_endless_shapes_of_keywords_do_not_fill_the_memory():
    check = check_signature(takes_anything)
    for number in range(1000):
        check((), {f"name{number}": 1})
    [fitting] = [cell.cell_contents for cell in check.__closure__ if isinstance(cell.cell_contents, set)]
    assert len(fitting) <= 64


def test_an_unhashable_callable_is_checked_too():
    class Unhashable:
        __hash__ = None

        def __call__(self, first):
            pass

    check_signature(Unhashable())((1,), {})
    with pytest.raises(SignatureError):
        check_signature(Unhashable())((), {})
