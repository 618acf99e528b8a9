"""Callables and their names, in this process and between processes."""

import functools
import json
import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest

from embedq.errors import UnknownTaskError
from embedq.tasks.functions import find_imported, is_async, main_name, module_name, name_of, resolve
from tests.support import ROOT
from tests.tasks.callables import (
    HERE,
    AsyncCallable,
    LoudMailer,
    Mailer,
    SyncCallable,
    coroutine,
    hidden,
    louder,
    module_lambda,
    nested,
    partial_of_plain,
    plain,
    wrapped,
)


def run(source: Any, *args: Any, cwd: Any) -> Any:
    done = subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
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
def test_a_name_leads_back_to_its_function(function: Any, name: Any) -> None:
    assert name_of(function) == name
    assert resolve(name) == function


@pytest.mark.parametrize(
    "function",
    [
        module_lambda,
        lambda: None,
        nested(),
        hidden,
        vars(wrapped)["original"],
        vars(hidden)["original"],
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
def test_what_no_name_leads_back_to_has_none(function: Any) -> None:
    assert name_of(function) is None


def test_a_function_that_was_replaced_in_its_module_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = plain
    monkeypatch.setattr(sys.modules[HERE], "plain", lambda: None)
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
        (f"{HERE}:ANSWER", "that is a int and cannot be called"),
    ],
)
def test_a_name_that_leads_nowhere_states_why(name: Any, message: Any) -> None:
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
def test_a_module_that_fails_to_import_is_an_unknown_task_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any, cause: Any
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_module.py").write_text(source)
    with pytest.raises(UnknownTaskError, match=cause.__name__) as caught:
        resolve("failing_module:send")
    assert isinstance(caught.value.__cause__, cause)


def test_resolving_imports_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fresh_module.py").write_text("def send():\n    return 'fresh'\n")
    assert find_imported("fresh_module:send") is None
    assert resolve("fresh_module:send")() == "fresh"
    assert find_imported("fresh_module:send") is resolve("fresh_module:send")


def test_finding_what_is_imported_runs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("lazy_module")
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

from embedq.tasks.functions import display_name, find_imported, module_name, name_of, resolve

def send():
    return __name__

class Order:
    class Line:
        pass

if __name__ == "__main__":
    print(name_of(send), name_of(Order.Line), display_name(lambda: 1), module_name(send))
    print(resolve(name_of(send)) is send, find_imported(name_of(Order)) is Order)
"""


def test_functions_of_a_script_are_stored_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    expected = ["shop:send", "shop:Order.Line", "shop:<lambda>", "shop", "True", "True"]
    assert run("", "shop.py", cwd=tmp_path) == expected
    assert run("", "-m", "shop", cwd=tmp_path) == expected
    assert run("", str(tmp_path / "shop.py"), cwd="/") == expected


def test_another_process_finds_them_by_importing_the_script(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    source = "from embedq.tasks.functions import resolve; print(resolve('shop:send')())"
    assert run("", "-c", source, cwd=tmp_path) == ["shop"]


def test_a_package_run_with_m_goes_by_the_packages_name(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/__init__.py").write_text("def pay():\n    return 'paid'\n")
    (tmp_path / "store/__main__.py").write_text(SHOP.replace("is Order)", "is Order, resolve('store:pay')())"))
    assert run("", "-m", "store", cwd=tmp_path) == [
        *("store:send", "store:Order.Line", "store:<lambda>", "store", "True", "True", "paid")
    ]


def test_a_second_import_of_the_script_is_never_used(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
            import sys
            from embedq.errors import UnknownTaskError
            from embedq.tasks.functions import find_imported, name_of, resolve

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


def test_a_script_that_is_named_like_a_module_does_not_hide_it(tmp_path: Path) -> None:
    """As with the command `pytest` and the package pytest."""
    (tmp_path / "json").mkdir()
    (tmp_path / "json/calendar").write_text(
        "from embedq.tasks.functions import main_name, resolve\n"
        "print(main_name(), resolve('calendar:monthrange')(2027, 2)[1])"
    )
    assert run("", "json/calendar", cwd=tmp_path) == ["calendar", "28"]


def test_a_prompt_has_only_main() -> None:
    source = (
        "from embedq.tasks.functions import *\ndef f(): pass\n"
        "print(main_name(), name_of(f), resolve('__main__:f') is f)"
    )
    assert run(source, "-", cwd=ROOT) == ["__main__", "__main__:f", "True"]
    assert run("", "-c", source, cwd=ROOT) == ["__main__", "__main__:f", "True"]


def test_a_spawned_process_knows_the_script_by_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
            import multiprocessing
            from embedq.tasks.functions import module_name, name_of, resolve

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


def test_under_pytest_the_main_module_is_not_this_one() -> None:
    assert main_name() != HERE
    assert module_name(plain) == HERE
    assert module_name(partial_of_plain) == "functools"


# --- async or not


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
def test_what_makes_a_coroutine_when_called(function: Any, answer: Any) -> None:
    assert is_async(function) is answer
