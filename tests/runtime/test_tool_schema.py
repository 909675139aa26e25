"""What a model is told of a function's arguments, and what it may say."""

import asyncio
import json
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from antiphon import Message, tool
from antiphon.runtime.errors import ConfigurationError, InvalidArguments, InvalidResult
from antiphon.runtime.tool import Tool
from antiphon.runtime.tool_schema import described
from antiphon.schemas.task import Effect


class Unit(StrEnum):
    """Of temperatures."""

    C = "c"
    F = "f"


class Place(Message):
    name: str


async def weather(
    place: Place,
    day: date,
    unit: Unit = Unit.C,
    limit: Annotated[int, Field(ge=1)] = 3,
    *,
    kind: Literal["short", "long"] = "short",
    idempotency_key: str = "",
) -> list[int]:
    """How warm it gets.

    Args:
        place: where,
            as people say it.
        limit (int): how many
            values.
        idempotency_key: nobody sees this.

    Returns:
        Degrees.
    """
    return [len(place.name), day.day, limit]


def test_the_schema_comes_from_hints_and_docstring() -> None:
    """Types, defaults, nested messages and words; neither the key nor titles, which would only cost tokens."""
    spec = tool(effect="read")(weather).spec()
    assert (spec.name, spec.description) == ("weather", "How warm it gets.\n\nReturns:\n    Degrees.")
    found = spec.parameters
    assert found["required"] == ["place", "day"]
    assert found["additionalProperties"] is False
    assert set(found["properties"]) == {"place", "day", "unit", "limit", "kind"}
    assert found["properties"]["place"]["description"] == "where, as people say it."
    limit = {"type": "integer", "minimum": 1, "default": 3, "description": "how many values."}
    assert found["properties"]["limit"] == limit
    assert found["properties"]["unit"]["default"] == "c"
    assert found["properties"]["day"] == {"type": "string", "format": "date"}
    assert found["$defs"]["Place"]["properties"] == {"name": {"type": "string"}}


async def test_arguments_become_what_the_hints_say() -> None:
    """JSON to messages, dates and enumerations; the function's own defaults do the rest."""
    found = tool(effect="read")(weather)
    arguments = found.validated({"place": {"name": "Rome"}, "day": "2026-01-07"})
    assert arguments == {"place": Place(name="Rome"), "day": date(2026, 1, 7)}
    assert await found.function(**arguments) == [4, 7, 3]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "place: Field required; day: Field required"),
        ({"place": {"name": "x"}, "day": "soon"}, "day: Input should be a valid date"),
        (
            {"place": {"name": "x"}, "day": "2026-01-07", "limit": 0},
            "limit: Input should be greater than or equal to 1",
        ),
        ({"place": {"name": "x"}, "day": "2026-01-07", "idempotency_key": "k"}, "idempotency_key: Extra inputs"),
    ],
)
def test_bad_arguments_are_explained(arguments: dict[str, Any], says: str) -> None:
    """By name, in words that a model can act on; the key cannot be given."""
    with pytest.raises(InvalidArguments, match=f"arguments of weather: .*{says}"):
        tool(effect="read")(weather).validated(arguments)


async def unhinted(a) -> int:  # type: ignore[no-untyped-def]  # that is what is wrong with it
    return 1


async def variadic(*names: str) -> int:
    return 1


async def positional(a: int, /) -> int:
    return a


async def not_json(a: Callable[[], int]) -> int:
    return a()


async def foreign(a: asyncio.Event) -> int:
    return 1


async def unknown(a: "Nobody") -> int:  # type: ignore[name-defined]  # noqa: F821 - that is what is wrong with it
    return 1


async def bad_default(a: Any = asyncio.Event) -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (unhinted, "'a' has no type hint"),
        (variadic, "cannot be given by name"),
        (positional, "cannot be given by name"),
        (not_json, "JSON cannot carry"),
        (foreign, "JSON cannot carry"),
        (unknown, "cannot resolve its type hints"),
        (bad_default, "JSON cannot carry the default"),
    ],
)
def test_what_a_model_cannot_give_is_refused_where_the_tool_is_defined(function: Any, says: str) -> None:
    """Not in the middle of a conversation."""
    with pytest.raises(ConfigurationError, match=says):
        tool()(function)


def test_names_of_pydantic_are_names_like_others() -> None:
    """A parameter may be called what a pydantic model keeps for itself."""

    async def odd(json: str, copy: int, model_config: int, schema: str = "x") -> None:
        pass

    found = tool()(odd)
    assert set(found.parameters["properties"]) == {"json", "copy", "model_config", "schema"}
    assert found.validated({"json": "a", "copy": 1, "model_config": 2}) == {"json": "a", "copy": 1, "model_config": 2}


def test_a_result_is_held_to_its_annotation() -> None:
    """Whatever the function returned, as JSON."""
    schema = tool(effect="read")(weather).schema
    schema.check_result(b"[1, 2]")
    with pytest.raises(
        InvalidResult, match=r"tool 'weather' returned something else than it declares: 0: Input should"
    ):
        schema.check_result(b'["warm"]')


async def test_a_tool_may_come_from_a_schema() -> None:
    """Of another process: called with plain arguments that fit, as far as the schema is understood."""
    seen: list[dict[str, Any]] = []

    async def call(arguments: dict[str, Any]) -> str:
        seen.append(arguments)
        return "done"

    parameters = {"type": "object", "properties": {"arguments": {"type": "integer"}}, "required": ["arguments"]}
    found = Tool.from_schema("remote", "Does it.", parameters, call, effect="read", ttl_s=3.0)
    assert (found.effect, found.ttl_s, found.takes_key, found.spec().parameters) == (
        Effect.READ,
        3.0,
        False,
        parameters,
    )
    assert found.arguments((), {"arguments": 1, "idempotency_key": "x"}) == {"arguments": 1, "idempotency_key": "x"}
    assert await found.limited(found.validated({"arguments": 1})) == "done"
    assert seen == [{"arguments": 1}]
    with pytest.raises(InvalidArguments, match="arguments of remote: arguments: required"):
        found.validated({})
    with pytest.raises(ConfigurationError, match="has no ttl"):
        Tool.from_schema("remote", "", parameters, call, effect="write", ttl_s=3.0)


@given(st.text(alphabet="aA: (\n)*#", max_size=60))
def test_no_docstring_is_too_strange(text: str) -> None:
    """Whatever stands there, the description and the words are texts."""

    async def function() -> None:
        pass

    function.__doc__ = f"Does.\n\nArgs:\n    a: x\n    {text}"
    description, words = described(function)
    assert description.startswith("Does.")
    assert json.dumps(words)
