"""Datasets: what is written is read back, and what is none is refused by its line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.replay.dataset import Example, body_of, example_of, read_lines, write_lines
from antiphon.schemas.score import Score

NAMES = st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
EXAMPLES = st.builds(
    Example,
    handler=st.builds("{}.{}".format, NAMES, NAMES),
    input=JSON,
    result=JSON,
    error=st.text(),
    scores=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    labels=st.dictionaries(st.text(), st.text(), max_size=3),
    task=st.text(),
    run=st.text(),
)


@given(st.lists(EXAMPLES, max_size=5))
def test_what_is_written_is_read_back(examples: list[Example]) -> None:
    """Line by line, whatever is in them; one example is one line."""
    text = "".join(write_lines(examples))
    assert text.count("\n") == len(examples)
    assert read_lines(text.split("\n"), "x.jsonl") == examples


def test_a_recorded_task_is_an_example(record: Any) -> None:
    """Its input, result, labels and the scores that are its own."""

    class N(Message):
        n: int

    agent = Agent("adder")

    @agent.handles
    async def add(message: N, ctx: Context) -> N:
        async def one() -> int:
            return 1

        await ctx.run("one", one, effect="read")
        return N(n=message.n + 1)

    run = record(System("adder", [agent]), add, N(n=1))
    scores = [
        Score(task=run.root.id, name="good", value=0.5, unix_ms=1),
        Score(task="another", name="good", value=1.0, unix_ms=1),
    ]
    found = example_of(run.root, scores)
    assert (found.handler, found.input, found.result, found.scores) == ("adder.add", {"n": 1}, {"n": 2}, {"good": 0.5})
    assert json.loads(body_of(found)) == {"n": 1}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2: .*JSON"),
        ('{"handler": "a.b"}', "line 2: input"),
        ('{"handler": "nothing", "input": 1}', "line 2: handler"),
        ('{"handler": "a.b", "input": 1, "more": 2}', "line 2: more"),
    ],
)
def test_a_line_that_is_no_example_is_named(line: str, why: str) -> None:
    """With its number and what is wrong."""
    with pytest.raises(InvalidMessage, match=why):
        read_lines(['{"handler": "a.b", "input": 1}', line], "x.jsonl")
