"""What ``ctx.run`` sees in a function."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from antiphon.runtime.steps import step_of


class Note(BaseModel):
    """A result."""

    text: str


class Desk:
    """Functions that belong to something."""

    async def read(self) -> Note:
        """No key."""
        return Note(text="")

    async def write(self, key: str) -> "Note":
        """With one."""
        return Note(text=key)

    async def __call__(self, key: str) -> None:
        """Callable itself."""

    @classmethod
    async def shared(cls, key: str, /) -> None:
        """Of the class."""


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator whose wrapper has the same code for all it wraps."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


async def many() -> list[Note]:
    """A result made of other types."""
    return []


async def unhashable() -> Annotated[int, []]:
    """An annotation that no cache takes."""
    return 1


async def wrong() -> int:
    """Returns something else than it says."""
    return "x"  # type: ignore[return-value]  # that is the point


async def unknown() -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821  that is the point
    """A type that is not there at run time."""


async def optional(key: str = "", *rest: str, other: int) -> None:
    """Nothing positional that it needs."""


@pytest.mark.parametrize(
    ("function", "takes_key"),
    [
        (Desk().read, False),
        (Desk().write, True),
        (Desk(), True),
        (Desk.shared, True),
        (traced(many), False),
        (traced(Desk().write), True),
        (functools.partial(Desk().write, "k"), False),
        (functools.partial(Desk().write), True),
        (optional, False),
        (lambda key: key, True),
        (lambda: None, False),
    ],
)
def test_a_function_that_needs_a_positional_argument_takes_the_key(
    function: Callable[..., Any], takes_key: bool
) -> None:
    """Whatever kind of callable it is, and whoever it belongs to."""
    assert step_of(function).takes_key is takes_key


@pytest.mark.parametrize(
    ("function", "record", "value"),
    [
        (Desk().read, b'{"text":"a"}', Note(text="a")),
        (Desk().write, b'{"text":"a"}', Note(text="a")),
        (traced(Desk().read), b'{"text":"a"}', Note(text="a")),
        (many, b'[{"text":"a"}]', [Note(text="a")]),
        (unhashable, b"1", 1),
        (wrong, b'"x"', "x"),
        (unknown, b'{"a":1}', {"a": 1}),
        (Desk(), b"null", None),
        (lambda: 1, b'{"a":[1]}', {"a": [1]}),
    ],
)
def test_a_result_comes_back_as_its_annotation_says(function: Callable[..., Any], record: bytes, value: object) -> None:
    """Without one that can be read, or where it does not hold, as JSON has it."""
    for _ in range(2):
        assert step_of(function).restore(record) == value
