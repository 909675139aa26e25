"""What is taken out of texts, wherever they are in a value."""

import asyncio
import threading

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.guards import Moment, Stage, redacts
from antiphon.runtime.guards.redaction import LONG
from antiphon.runtime.policies.chain import Scope

MOMENT = Moment(stage=Stage.TOOL_RESULT, target="search", scope=Scope(tenant="default", run="r"))


async def test_every_text_of_a_value_is_looked_at_and_nothing_else() -> None:
    """In lists and objects; keys, numbers and the rest stay."""
    value = {"a@b.co": ["write to a@b.co", 4111111111111111, None, {"deep": "+44 20 7946 0018"}], "ok": True}
    found = await redacts("tool.result").check(value, MOMENT)
    assert found == {"a@b.co": ["write to [email]", 4111111111111111, None, {"deep": "[phone]"}], "ok": True}


async def test_patterns_have_names_and_take_the_place_of_personal_data() -> None:
    """A mark is the name in brackets, whatever the pattern captured, and one pattern sees what others left."""
    guard = redacts("tool.result", by={"ticket": r"T-(\d+)", "code": r"[A-Z]{4}"})
    assert await guard.check("T-17 of a@b.co: ABCD", MOMENT) == "[ticket] of a@b.co: [code]"


async def test_a_function_decides_and_may_wait() -> None:
    """It is asked once about each text that differs."""
    asked: list[str] = []

    async def ask_a_service(text: str) -> str:
        await asyncio.sleep(0)
        asked.append(text)
        return text.upper()

    assert await redacts("tool.result", by=ask_a_service).check(["a", "b", "a"], MOMENT) == ["A", "B", "A"]
    assert asked == ["a", "b"]


async def test_a_long_text_does_not_hold_up_the_node() -> None:
    """It is looked at in a thread."""
    threads: list[str] = []

    def by(text: str) -> str:
        threads.append(threading.current_thread().name)
        return text

    await redacts("tool.result", by=by).check(["x" * LONG, "x" * (LONG + 1)], MOMENT)
    assert threads[0] == threading.main_thread().name != threads[1]


def test_a_pattern_that_is_none_is_refused_at_once() -> None:
    """When the agent is defined, not when it runs."""
    with pytest.raises(ConfigurationError, match="is no regular expression: missing"):
        redacts("tool.result", by={"bad": "("})
