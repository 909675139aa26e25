"""Whether a JSON value fits a JSON Schema, as far as pydantic's own schemas go.

For values that people type about messages whose class this process does not have. The keywords are those that
``model_json_schema`` writes (JSON Schema 2020-12, Validation, section 6); others are passed over, and the process that
has the class validates anyway.
"""

import re
from collections.abc import Callable, Iterator, Mapping
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
    return list(_problems(schema, value, "", schema.get("$defs", {})))


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


def _problems(schema: Mapping[str, Any], value: Any, at: str, defs: Mapping[str, Any]) -> Iterator[str]:
    reference = schema.get("$ref")
    if reference is not None:
        yield from _problems(defs.get(reference.rpartition("/")[2], {}), value, at, defs)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options and all(any(_problems(option, value, at, defs)) for option in options):
        # The reasons of the option that fits best say more than all of them.
        yield from min((list(_problems(option, value, at, defs)) for option in options), key=len)
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
        yield from _object(schema, value, at, defs)
    elif isinstance(value, list):
        fixed = schema.get("prefixItems", ())
        for index, item in enumerate(value):
            inner = fixed[index] if index < len(fixed) else schema.get("items", {})
            if isinstance(inner, dict):
                yield from _problems(inner, item, _join(at, str(index)), defs)


def _object(schema: Mapping[str, Any], value: dict[str, Any], at: str, defs: Mapping[str, Any]) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_join(at, name)}: required, not there"
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in known:
            yield from _problems(known[name], item, _join(at, name), defs)
        elif others is False:
            yield f"{_join(at, name)}: unknown, expected one of {', '.join(known) or 'none'}"
        elif isinstance(others, dict):
            yield from _problems(others, item, _join(at, name), defs)


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
