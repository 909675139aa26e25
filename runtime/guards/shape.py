"""A guard that checks the form of a JSON value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import to_json

from antiphon.runtime import json_schema
from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.errors import ConfigurationError, Refused
from antiphon.runtime.guards.guard import Guard, Moment

SHOWN = 5  # problems in a reason


def fits(shape: Any, *stages: str) -> Guard:
    """Let pass what fits: a JSON schema (a mapping), a Message, or any type that pydantic knows.

    The value itself stays as it is: nothing is converted and no default filled in. Replies that are no answer yet pass.

    Raises:
        ConfigurationError: a type that pydantic does not know, or a schema with keywords that we do not check.
    """
    return _Shape(stages=stages, wrong=_schema(shape) if isinstance(shape, Mapping) else _type(shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    stages: tuple[str, ...]
    wrong: Callable[[Any], str]  # what is wrong with a value, without showing it
    name: str = "fits"

    async def check(self, value: Any, moment: Moment) -> Any:
        wrong = self.wrong(value) if moment.is_answer else ""
        if wrong:
            raise Refused(wrong)
        return value


def _schema(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    unchecked = json_schema.unchecked(schema)
    if unchecked:
        raise ConfigurationError(
            f"a guard's JSON schema has {', '.join(unchecked)}, which would not be checked: give fits() a pydantic type"
        )

    def wrong(value: Any) -> str:
        found = [problem.partition(", found ")[0] for problem in json_schema.problems(schema, value)]
        return "; ".join(found[:SHOWN])

    return wrong


def _type(type_: Any) -> Callable[[Any], str]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(type_)
    except PydanticSchemaGenerationError as error:
        reason = error.message.splitlines()[0]
        raise ConfigurationError(f"a guard cannot check for {type_!r}: {reason}") from None

    def wrong(value: Any) -> str:
        try:
            adapter.validate_json(to_json(value))
        except ValidationError as error:
            return problems(error)
        return ""

    return wrong
