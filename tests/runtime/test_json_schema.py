"""What people type is held against the schema that pydantic wrote."""

from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import Field

from antiphon import Message
from antiphon.runtime.json_schema import problems, unchecked
from antiphon.schemas.inference import Reply
from antiphon.schemas.message import Value


class Level(StrEnum):
    """How much."""

    LOW = "low"
    HIGH = "high"


class Line(Value):
    """A part."""

    name: str = Field(min_length=1, pattern="^[a-z]+$")
    count: int = Field(ge=1, le=10)


class Order(Message):
    """One of each kind of field."""

    lines: list[Line] = Field(max_length=2)
    level: Level = Level.LOW
    note: str | None = None
    price: float = Field(default=1.0, gt=0)
    mode: Literal["a", "b"] = "a"
    labels: dict[str, int] = Field(default_factory=dict)
    pair: tuple[int, str] = (1, "x")


SCHEMA = Order.model_json_schema()
GOOD: dict[str, Any] = {"lines": [{"name": "x", "count": 2}]}


@pytest.mark.parametrize(
    "change",
    [{}, {"note": None}, {"note": "x"}, {"level": "high"}, {"price": 2}, {"labels": {"a": 1}}, {"pair": [2, "y"]}],
)
def test_what_the_class_takes_fits(change: dict[str, Any]) -> None:
    """The class itself agrees."""
    Order.model_validate({**GOOD, **change})
    assert problems(SCHEMA, {**GOOD, **change}) == []


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "lines: required, not there"),
        ({**GOOD, "colour": 1}, "colour: unknown, expected one of lines, level"),
        ({"lines": "x"}, "lines: expected array, found 'x'"),
        ({"lines": [{"name": "x", "count": "2"}]}, "lines.0.count: expected integer, found '2'"),
        ({"lines": [{"name": "x", "count": True}]}, "lines.0.count: expected integer, found True"),
        ({"lines": [{"name": "x", "count": 11}]}, "lines.0.count: expected at most 10, found 11"),
        ({"lines": [{"name": "", "count": 1}]}, "lines.0.name: expected at least 1 characters, found ''"),
        ({"lines": [{"name": "X", "count": 1}]}, "lines.0.name: expected text that matches ^[a-z]+$, found 'X'"),
        ({"lines": GOOD["lines"] * 3}, "lines: expected at most 2 items"),
        ({**GOOD, "level": "middle"}, "level: expected one of ['low', 'high'], found 'middle'"),
        ({**GOOD, "note": 1}, "note: expected string, found 1"),
        ({**GOOD, "price": 0}, "price: expected more than 0, found 0"),
        ({**GOOD, "mode": "c"}, "mode: expected one of ['a', 'b'], found 'c'"),
        ({**GOOD, "labels": {"a": "b"}}, "labels.a: expected integer, found 'b'"),
        ({**GOOD, "pair": [1, 2]}, "pair.1: expected string, found 2"),
    ],
)
def test_what_does_not_fit_is_told_by_place(value: dict[str, Any], says: str) -> None:
    """With what was found and what was expected."""
    assert any(found.startswith(says) for found in problems(SCHEMA, value)), problems(SCHEMA, value)


def test_keywords_it_does_not_know_are_passed_over() -> None:
    """So are types it does not know and patterns Python cannot read; a list of types is any of them."""
    assert problems({"type": "strange", "multipleOf": 7}, 3) == []
    assert problems({"type": "string", "pattern": "(?<"}, "x") == []
    assert problems({"type": ["string", "null"]}, None) == []
    assert problems({"const": 1}, 2) == ["body: expected 1, found 2"]
    assert problems({}, {"anything": [1]}) == []


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"type": "object", "title": "x", "properties": {"a": {"type": "string", "maxLength": 3}}}, []),
        ({"properties": {"a": {"format": "email"}}, "if": {}}, ["if", "format"]),
        (
            {"anyOf": [{"uniqueItems": True}], "items": {"not": {}}, "$defs": {"x": {"allOf": []}}},
            ["not", "uniqueItems", "allOf"],
        ),
        ({"$ref": "#/$defs/x"}, []),
        ({"$ref": "other.json"}, ["$ref 'other.json'"]),
    ],
)
def test_keywords_that_are_not_checked_are_named(schema: dict[str, Any], found: list[str]) -> None:
    """At any depth, for those who must be sure that all of a schema is checked."""
    assert unchecked(schema) == found


def test_what_pydantic_writes_is_checked_whole() -> None:
    """Of the types that messages of ours have."""
    assert unchecked(Reply.model_json_schema()) == []


class Tree(Message):
    """Refers to itself, twice."""

    value: int = 0
    left: "Tree | Fork | None" = None


class Fork(Value):
    """Half of a tree."""

    name: str = ""
    left: "Tree | Fork | None" = None


def test_a_recursive_union_is_checked_in_linear_time() -> None:
    """Fifty levels are fifty looks; with each option tried twice a level they would be two to the fiftieth."""
    Tree.model_rebuild()
    schema = Tree.model_json_schema()
    value: dict[str, Any] = {"value": "ten"}
    for _ in range(50):
        value = {"left": value}
    assert problems(schema, value) == [f"{'left.' * 50}value: expected integer, found 'ten'"]


def test_what_is_nested_too_deeply_is_a_problem_and_no_crash() -> None:
    """Of the value, or of a schema that says nothing but to look at itself."""
    Tree.model_rebuild()
    value: dict[str, Any] = {}
    for _ in range(900):
        value = {"left": value}
    (said,) = problems(Tree.model_json_schema(), value)
    assert "nested" in said
    assert problems({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, 1) == [said]


def test_a_schema_may_be_true_or_false() -> None:
    """As generators of other languages write them for anything and nothing."""
    schema = {"type": "object", "properties": {"any": True, "none": False}, "additionalProperties": True}
    assert problems(schema, {"any": [1], "other": 2}) == []
    assert problems(schema, {"none": 1}) == ["none: nothing may be there, found 1"]
    assert problems({"prefixItems": [True, False]}, [1, 2]) == ["1: nothing may be there, found 2"]
