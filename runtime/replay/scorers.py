"""How good a reply is: equal to the one expected, by a function, or by a model's judgement."""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from antiphon.runtime.errors import AntiphonError, HandlerFailed, InvalidOutput, LoadError
from antiphon.runtime.replay.dataset import Example
from antiphon.runtime.replay.outside import Outside
from antiphon.schemas.inference import GenerateRequest, Reply, Role, Sampling, turn

EXACT: Final = "exact"
JUDGE: Final = "judge:"
Scorer = Callable[[Example, Any], float]

_INSTRUCTION: Final = (
    "You compare an answer with a reference. Say how well the answer does what the task asks, with the reference as an "
    "example of a good answer, as one whole number from 0 (useless) to 10 (as good or better). Reply with the number."
)
_NUMBER: Final = re.compile(r"\b(10|\d)\b")


def scorer_of(text: str, outside: Outside) -> Scorer:
    """``exact``, ``module:function`` or ``judge:MODEL``.

    Raises:
        LoadError: there is no such function.
    """
    if text == EXACT:
        return exact
    if text.startswith(JUDGE):
        return judge(text.removeprefix(JUDGE), outside)
    return _function(text)


def exact(example: Example, result: Any) -> float:
    """1 if the reply is the one expected, else 0."""
    return float(result == example.result)


def judge(model: str, outside: Outside) -> Scorer:
    """What a model thinks of it, 0 to 1, at temperature 0."""

    def score(example: Example, result: Any) -> float:
        sides = (("Task", example.input), ("Reference", example.result), ("Answer", result))
        shown = "\n\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in sides)
        request = GenerateRequest(
            model=model,
            conversation=(turn(Role.SYSTEM, _INSTRUCTION), turn(Role.USER, shown)),
            sampling=Sampling(max_tokens=8),
        )
        reply, _ = outside.ask(request)
        assert isinstance(reply, Reply)  # what a GenerateRequest is answered with
        found = _NUMBER.search(reply.text)
        if found is None:
            raise InvalidOutput(f"judge {model} said {reply.text[:80]!r}, expected a whole number from 0 to 10")
        return int(found[1]) / 10

    return score


def _function(text: str) -> Scorer:
    place, colon, name = text.partition(":")
    if not (colon and place and name):
        raise LoadError(f"scorer {text!r}: expected exact, module:function or judge:MODEL")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(place), name, None)
    except ImportError as error:
        raise LoadError(f"scorer {text!r}: {error}") from error
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise LoadError(f"scorer {text!r}: expected a function (input, output, expected) that returns a number")

    def score(example: Example, result: Any) -> float:
        try:
            return float(function(example.input, result, example.result))
        except AntiphonError:
            raise
        except Exception as error:
            raise HandlerFailed(
                f"scorer {text!r}: {type(error).__name__}: {error}", type=type(error).__name__
            ) from error

    return score
