"""JSON schemas at random, as people write them and worse: for tests and benchmarks of constrained replies."""

import random
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_WORDS = (
    "id",
    "name",
    "title",
    "tags",
    "score",
    "unit",
    "größe",
    "a b",
    'quo"te',
    "x-y",
    "parent",
    "items",
    "价格",
    "",
)
_PATTERNS = ("^[a-z]{2,8}$", "^[A-Z]{3}-[0-9]{2,4}$", "^(red|green|blue)$", "^[0-9a-f]{8}$", "^\\d{4}-\\d{2}-\\d{2}$")
_FORMATS = ("date", "email", "uuid", "ipv4")


def random_schema(rng: random.Random, *, depth: int = 3) -> Schema:
    """A schema of an object, ``depth`` levels deep at most, that finite JSON satisfies."""
    definitions: dict[str, Schema] = {}
    schema = _object(rng, depth, definitions)
    if definitions:
        schema["$defs"] = definitions
    return schema


def _any(rng: random.Random, depth: int, definitions: dict[str, Schema]) -> Schema:
    simple: tuple[Callable[[random.Random], Schema], ...] = (_string, _integer, _number, _choice, _boolean, _nothing)
    nested = (_object, _array, _any_of, _reference)
    if depth <= 0 or rng.random() < 0.45:
        return rng.choice(simple)(rng)
    return rng.choice(nested)(rng, depth - 1, definitions)


def _object(rng: random.Random, depth: int, definitions: dict[str, Schema]) -> Schema:
    names = rng.sample(_WORDS, rng.randint(1, 5))
    return {
        "type": "object",
        "properties": {name: _any(rng, depth - 1, definitions) for name in names},
        "required": [name for name in names if rng.random() < 0.6],
        "additionalProperties": False if rng.random() < 0.8 else _any(rng, 0, definitions),
    }


def _array(rng: random.Random, depth: int, definitions: dict[str, Schema]) -> Schema:
    least = rng.randint(0, 2)
    schema: Schema = {"type": "array", "items": _any(rng, depth, definitions), "minItems": least}
    if rng.random() < 0.8:
        schema["maxItems"] = least + rng.randint(0, 4)
    if rng.random() < 0.2:
        schema["prefixItems"] = [_any(rng, 0, definitions) for _ in range(rng.randint(1, 2))]
    return schema


def _any_of(rng: random.Random, depth: int, definitions: dict[str, Schema]) -> Schema:
    return {"anyOf": [_any(rng, depth, definitions) for _ in range(rng.randint(2, 3))]}


def _reference(rng: random.Random, depth: int, definitions: dict[str, Schema]) -> Schema:
    """To a definition; one in three holds a list of itself."""
    name = f"d{len(definitions)}"
    definitions[name] = {}
    definition = _object(rng, depth, definitions)
    if rng.random() < 0.3:
        definition["properties"]["children"] = {
            "type": "array",
            "items": {"$ref": f"#/$defs/{name}"},
            "maxItems": 2,
        }
    definitions[name] = definition
    return {"$ref": f"#/$defs/{name}"}


def _string(rng: random.Random) -> Schema:
    kind = rng.randrange(4)
    if kind == 0:
        return {"type": "string", "pattern": rng.choice(_PATTERNS)}
    if kind == 1:
        return {"type": "string", "format": rng.choice(_FORMATS)}
    if kind == 2:
        least = rng.randint(0, 3)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 40)}
    return {"type": "string"}


def _integer(rng: random.Random) -> Schema:
    least = rng.randint(-1000, 1000)
    schema: Schema = {"type": "integer", "minimum": least}
    if rng.random() < 0.7:
        schema["maximum"] = least + rng.randint(0, 5000)
    return schema


def _number(rng: random.Random) -> Schema:
    least = round(rng.uniform(-10, 10), 2)
    return {"type": "number", "exclusiveMinimum" if rng.random() < 0.3 else "minimum": least, "maximum": least + 7.5}


def _choice(rng: random.Random) -> Schema:
    if rng.random() < 0.2:
        return {"const": rng.choice(("v1", 7, None, True))}
    return {"enum": rng.sample(("red", "green", "größer", 1, 2.5, True, None, 'a"b'), rng.randint(1, 5))}


def _boolean(_: random.Random) -> Schema:
    return {"type": "boolean"}


def _nothing(_: random.Random) -> Schema:
    return {"type": ["null", "string"], "maxLength": 5}
