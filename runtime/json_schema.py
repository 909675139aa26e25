"""Whether a JSON value fits a JSON Schema, as far as pydantic's own schemas go.

For values that people type about messages whose class this process does not have. The keywords are those that
``model_json_schema`` writes (JSON Schema 2020-12, Validation, section 6); others are passed over, and the process that
has the class validates anyway.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}
_LIMITS: Mapping[str, tuple[str, str, Callable[[Any, Any], bool]]] = {
    "minimum": ("number", "at least {}", lambda value, limit: value >= limit),
    "maximum": ("number", "at most {}", lambda value, limit: value <= limit),
    "exclusiveMinimum": ("number", "more than {}", lambda value, limit: value > limit),
    "exclusiveMaximum": ("number", "less than {}", lambda value, limit: value < limit),
    "minLength": ("string", "at least {} characters", lambda value, limit: len(value) >= limit),
    "maxLength": ("string", "at most {} characters", lambda value, limit: len(value) <= limit),
    "pattern": ("string", "text that matches {}", lambda value, limit: _matches(limit, value)),
    "minItems": ("array", "at least {} items", lambda value, limit: len(value) >= limit),
    "maxItems": ("array", "at most {} items", lambda value, limit: len(value) <= limit),
}

_CHECKED = {
    "$ref",
    "$defs",
    "type",
    "anyOf",
    "oneOf",
    "const",
    "enum",
    "prefixItems",
    "items",
    "properties",
    "required",
    "additionalProperties",
    *_LIMITS,
}
_SAYS_NOTHING = {"$schema", "$comment", "title", "description", "default", "examples", "deprecated", "discriminator"}


def problems(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with ``value``, each as ``amount: expected integer, found "ten"``; empty if it fits."""
    try:
        return list(_Check(schema.get("$defs", {})).problems(schema, value, ""))
    except RecursionError:  # of a value that is nested some hundred times, or a schema that refers to itself
        return ["body: expected something that is not nested so deeply"]


def unchecked(schema: Mapping[str, Any]) -> list[str]:
    """What in ``schema`` says something about values that ``problems`` passes over; empty if there is nothing."""
    found = [keyword for keyword in schema if keyword not in _CHECKED and keyword not in _SAYS_NOTHING]
    reference = schema.get("$ref", "#/$defs/")
    if not reference.startswith("#/$defs/"):
        found.append(f"$ref {reference!r}")
    inner = [schema.get("items"), schema.get("additionalProperties")]
    for several in ("anyOf", "oneOf", "prefixItems"):
        inner += schema.get(several, ())
    for named in ("$defs", "properties"):
        inner += schema.get(named, {}).values()
    found += [keyword for each in inner if isinstance(each, Mapping) for keyword in unchecked(each)]
    return list(dict.fromkeys(found))


class _Check:
    """One check, and what it has found out about unions.

    Each option of a union is tried once at each place: schemas that refer to themselves, such as that of a tree, would
    otherwise take time that doubles with each level.
    """

    def __init__(self, defs: Mapping[str, Any]) -> None:
        self._defs = defs
        self._tried: dict[tuple[int, int, str], list[list[str]]] = {}

    def problems(self, schema: Any, value: Any, at: str) -> Iterator[str]:
        if not isinstance(schema, Mapping):  # JSON Schema has true for anything and false for nothing
            if schema is False:
                yield f"{at or 'body'}: nothing may be there, found {_shown(value)}"
            return
        reference = schema.get("$ref")
        if reference is not None:
            yield from self.problems(self._defs.get(reference.rpartition("/")[2], {}), value, at)
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            tried = self._options(options, value, at)
            if all(tried):
                yield from min(tried, key=len)  # the reasons of the option that fits best say more than all of them
                return
        expected = schema.get("type", ())
        types = [found for found in ((expected,) if isinstance(expected, str) else expected) if found in _TYPES]
        if types and not any(_TYPES[found](value) for found in types):
            yield f"{at or 'body'}: expected {' or '.join(types)}, found {_shown(value)}"
            return
        if "const" in schema and value != schema["const"]:
            yield f"{at or 'body'}: expected {_shown(schema['const'])}, found {_shown(value)}"
        if "enum" in schema and value not in schema["enum"]:
            yield f"{at or 'body'}: expected one of {_shown(schema['enum'])}, found {_shown(value)}"
        for keyword, (kind, text, fits) in _LIMITS.items():
            if keyword in schema and _TYPES[kind](value) and not fits(value, schema[keyword]):
                yield f"{at or 'body'}: expected {text.format(schema[keyword])}, found {_shown(value)}"
        if isinstance(value, dict):
            yield from self._object(schema, value, at)
        elif isinstance(value, list):
            fixed = schema.get("prefixItems", ())
            for index, item in enumerate(value):
                inner = fixed[index] if index < len(fixed) else schema.get("items", True)
                yield from self.problems(inner, item, _join(at, str(index)))

    def _options(self, options: Sequence[Any], value: Any, at: str) -> list[list[str]]:
        """What is wrong with ``value`` by each option."""
        if not isinstance(value, dict | list):
            return [list(self.problems(option, value, at)) for option in options]
        place = (id(options), id(value), at)  # both live as long as the check
        found = self._tried.get(place)
        if found is None:
            found = self._tried[place] = [list(self.problems(option, value, at)) for option in options]
        return found

    def _object(self, schema: Mapping[str, Any], value: dict[str, Any], at: str) -> Iterator[str]:
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_join(at, name)}: required, not there"
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in known:
                yield from self.problems(known[name], item, _join(at, name))
            elif others is False:
                yield f"{_join(at, name)}: unknown, expected one of {', '.join(known) or 'none'}"
            else:
                yield from self.problems(others, item, _join(at, name))


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # pydantic's dialect has a few things that Python's lacks: for whoever has the class to decide


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
