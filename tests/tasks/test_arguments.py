"""Arguments are refused at enqueue exactly when the call would refuse them."""

import gc
import inspect
import weakref
from typing import Any

import pytest

from embedq.errors import SignatureError
from embedq.tasks.arguments import argument_check
from tests.tasks.callables import HERE, Mailer, SyncCallable, coroutine, partial_of_plain, plain, wrapped


def takes_anything(*args: Any, **kwargs: Any) -> None:
    pass


def needs_a_keyword(first: Any, *, second: Any) -> None:
    pass


def positional_only(first: Any, /, second: int = 2) -> None:
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
def test_arguments_are_refused_exactly_when_a_call_would_refuse_them(function: Any) -> None:
    check = argument_check(function)
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


def test_the_error_has_the_function_its_signature_and_the_mistake() -> None:
    with pytest.raises(SignatureError) as caught:
        argument_check(plain)((), {"template": "y"})
    assert str(caught.value) == (
        f"the arguments do not fit {HERE}:plain(user_id: Any, template: Any = 'x', *, urgent: Any = False) -> Any: "
        "missing a required argument: 'user_id'; nothing was enqueued"
    )


def test_a_function_without_a_signature_takes_anything() -> None:
    class Odd:
        __signature__ = "none"

        def __call__(self) -> None:
            pass

    argument_check(Odd())((1, 2), {"three": 3})
    argument_check(dict)((1, 2, 3), {})


def test_the_check_of_a_function_is_made_once_and_goes_with_it() -> None:
    def short_lived(first: Any) -> None:
        pass

    assert argument_check(short_lived) is argument_check(short_lived)
    gone = weakref.ref(short_lived)
    del short_lived
    gc.collect()
    assert gone() is None


def test_endless_shapes_of_keywords_do_not_fill_the_memory() -> None:
    check = argument_check(takes_anything)
    for number in range(1000):
        check((), {f"name{number}": 1})
    assert check.__closure__ is not None
    [fitting] = [cell.cell_contents for cell in check.__closure__ if isinstance(cell.cell_contents, set)]
    assert len(fitting) <= 64


def test_an_unhashable_callable_is_checked_too() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, first: Any) -> None:
            pass

    argument_check(Unhashable())((1,), {})
    with pytest.raises(SignatureError):
        argument_check(Unhashable())((), {})
