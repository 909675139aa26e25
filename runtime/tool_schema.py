"""What a tool takes and gives: a function's by its hints and docstring, any other's by a JSON schema."""

import inspect
import json
import re
import textwrap
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict  # typing's own is not enough for pydantic before Python 3.12

from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.errors import ConfigurationError, InvalidArguments, InvalidResult
from antiphon.runtime.json_schema import problems as misfits

_SECTION = re.compile(r"(?:Args|Arguments):\s*")
_ARGUMENT = re.compile(r"(\w+)(?: *\([^)]*\))?: *(.*)")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ToolSchema(Protocol):
    """What a tool's calls must fit. ``parameters`` is the JSON schema of an object."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Raises ToolUnavailable if nobody could say it yet."""
        ...

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values as keyword arguments. Raises InvalidArguments, in words that a model can act on."""
        ...

    def check_result(self, body: bytes) -> None:
        """Raises InvalidResult if the JSON of a result is not what the tool declares."""
        ...


class JsonSchema:
    """Of a tool that is no Python function. Its arguments fit as far as ``runtime/json_schema.py`` can say."""

    __slots__ = ("_name", "parameters")

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        self._name = name
        self.parameters = parameters

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """See ToolSchema."""
        found = misfits(self.parameters, dict(arguments))
        if found:
            raise InvalidArguments(f"arguments of {self._name}: {'; '.join(found[:5])}", tool=self._name)
        return dict(arguments)

    def check_result(self, body: bytes) -> None:
        """See ToolSchema: nothing is declared."""


class FunctionSchema:
    """Of a function; the parameter ``hidden`` is no argument. ``description``: its docstring without ``Args:``.

    Raises:
        ConfigurationError: a parameter without a hint, one that cannot be given by name, or a hint that JSON cannot
            carry.
    """

    __slots__ = ("_adapter", "_name", "_result", "description", "parameters")

    def __init__(self, function: Callable[..., Any], *, hidden: str) -> None:
        self._name = name = function.__name__
        self.description, words = described(function)
        hints = _hints(function)
        self._result: TypeAdapter[Any] = _adapter(hints.get("return", Any))
        fields = {each.name: _field(name, each, words) for each in _parameters(function, hints) if each.name != hidden}
        make: Any = TypedDict  # its keys are known only now, which is nothing for a type checker
        arguments = make(name, fields)
        arguments.__pydantic_config__ = ConfigDict(extra="forbid")
        try:
            self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
            self.parameters = self._adapter.json_schema(schema_generator=_Untitled)
        except PydanticUserError as error:
            reason = error.message.splitlines()[0]
            raise ConfigurationError(f"tool {name!r}: JSON cannot carry its arguments ({reason})") from None
        self.parameters.pop("title", None)
        self.parameters.setdefault("properties", {})

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values as what the hints say; defaults are left to the function. Raises InvalidArguments."""
        try:
            return self._adapter.validate_json(json.dumps(arguments))
        except ValidationError as error:
            raise InvalidArguments(f"arguments of {self._name}: {problems(error)}", tool=self._name) from None

    def check_result(self, body: bytes) -> None:
        """See ToolSchema."""
        try:
            self._result.validate_json(body)
        except ValidationError as error:
            raise InvalidResult(
                f"tool {self._name!r} returned something else than it declares: {problems(error)}", tool=self._name
            ) from None


class _Untitled(GenerateJsonSchema):
    """Without a title for every property, which says its name again: a model reads each of these tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def described(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """A Google-style docstring without its ``Args:`` section, and what that section says of each argument."""
    lines = (inspect.getdoc(function) or "").splitlines()
    start = next((at for at, line in enumerate(lines) if _SECTION.fullmatch(line)), len(lines))
    after = range(start + 1, len(lines))
    end = next((at for at in after if lines[at] and not lines[at][0].isspace()), len(lines))
    words: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent("\n".join(lines[start + 1 : end])).splitlines():
        found = _ARGUMENT.fullmatch(line)
        if found is not None:
            name, words[found[1]] = found[1], found[2]
        elif name:
            words[name] = f"{words[name]} {line.strip()}".strip()
    return "\n".join(lines[:start] + lines[end:]).strip(), words


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"tool {function.__name__!r}: cannot resolve its type hints ({error})") from None


def _adapter(hint: Any) -> TypeAdapter[Any]:
    """Of a result: a class that pydantic does not know may be anything that JSON can carry."""
    try:
        return TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return TypeAdapter(Any)


def _parameters(function: Callable[..., Any], hints: Mapping[str, Any]) -> list[inspect.Parameter]:
    """The function's parameters with their hints."""
    name = function.__name__
    found = []
    for each in inspect.signature(function).parameters.values():
        if each.kind not in _BY_NAME:
            raise ConfigurationError(f"tool {name!r}: parameter {each} cannot be given by name, as a model does")
        if each.name not in hints:
            raise ConfigurationError(f"tool {name!r}: parameter {each.name!r} has no type hint; a model needs its type")
        found.append(each.replace(annotation=hints[each.name]))
    return found


def _field(tool: str, parameter: inspect.Parameter, words: Mapping[str, str]) -> Any:
    """The parameter as a field of a TypedDict."""
    extra: dict[str, Any] = {}
    if parameter.name in words:
        extra["description"] = words[parameter.name]
    if parameter.default is inspect.Parameter.empty:
        return Annotated[parameter.annotation, Field(**extra)]
    try:
        extra["json_schema_extra"] = {"default": TypeAdapter(Any).dump_python(parameter.default, mode="json")}
    except ValueError as error:
        raise ConfigurationError(
            f"tool {tool!r}: JSON cannot carry the default of {parameter.name!r} ({error})"
        ) from None
    return typing.NotRequired[Annotated[parameter.annotation, Field(**extra)]]
