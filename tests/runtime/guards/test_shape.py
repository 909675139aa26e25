"""The form of a value, by a type or a schema."""

from typing import Annotated, Any

import pytest
from pydantic import Field

from antiphon import Message
from antiphon.runtime.errors import ConfigurationError, Refused
from antiphon.runtime.guards import Moment, Stage, fits
from antiphon.runtime.policies.chain import Scope


class Refund(Message):
    """A message with a limit."""

    customer: str
    cents: Annotated[int, Field(le=10_000)]


def moment(*, is_answer: bool = True) -> Moment:
    """Arguments of a tool."""
    scope = Scope(tenant="default", run="r")
    return Moment(stage=Stage.TOOL_ARGUMENTS, target="pay", scope=scope, is_answer=is_answer)


@pytest.mark.parametrize("shape", [Refund, Refund.model_json_schema()])
async def test_a_type_and_its_schema_let_pass_the_same(shape: Any) -> None:
    """The value itself is unchanged; the reason says where and what was expected, and not what was found."""
    guard = fits(shape, "tool.arguments")
    good = {"customer": "ada", "cents": 4200}
    assert await guard.check(good, moment()) is good
    with pytest.raises(Refused, match="cents: ") as caught:
        await guard.check({"customer": "secret", "cents": 1_000_001}, moment())
    assert "10000" in caught.value.message
    assert "secret" not in caught.value.message
    assert "1000001" not in caught.value.message


async def test_any_type_of_pydantic_will_do() -> None:
    """A bound on a text, a list of numbers."""
    assert await fits(Annotated[str, Field(max_length=3)], "model.output").check("abc", moment()) == "abc"
    with pytest.raises(Refused):
        await fits(list[int], "model.output").check(["x"], moment())


async def test_a_reply_that_is_no_answer_yet_passes() -> None:
    """The model asks for tools first."""
    assert await fits(Refund, "model.output").check("let me look", moment(is_answer=False)) == "let me look"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
        {"type": "array", "items": {"anyOf": [{"type": "number", "multipleOf": 2}, {"type": "null"}]}},
        {"$ref": "https://example.org/refund.json"},
    ],
)
def test_a_schema_that_would_be_checked_in_part_is_refused(schema: dict[str, Any]) -> None:
    """A guard that silently passes over what it was told is worse than none."""
    with pytest.raises(ConfigurationError, match=r"has .*(patternProperties|multipleOf|ref).*, which would not be"):
        fits(schema, "tool.arguments")


def test_a_type_that_pydantic_does_not_know_is_refused() -> None:
    """When the agent is defined."""
    with pytest.raises(ConfigurationError, match="a guard cannot check for"):
        fits(object(), "tool.arguments")
