"""Numbers of operations: the same program numbers alike, however its branches are scheduled."""

import asyncio
import random
from collections.abc import Awaitable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.branches import Branches, gather, letters
from antiphon.runtime.errors import ForeignTask


@pytest.mark.parametrize(
    ("index", "expected"), [(0, "a"), (25, "z"), (26, "aa"), (51, "az"), (52, "ba"), (701, "zz"), (702, "aaa")]
)
def test_letters_count_like_columns(index: int, expected: str) -> None:
    """Bijective base 26: no two branches share letters."""
    assert letters(index) == expected


Shape = list["int | Shape"]
SHAPES: st.SearchStrategy[Shape] = st.recursive(
    st.integers(1, 3), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=12
).map(lambda found: [found] if isinstance(found, int) else found)


async def paths(shape: Shape, rng: random.Random | None) -> list[str]:
    """Run a program: a number is that many operations in a row, a list a gather of its parts; what it numbered."""
    branches = Branches()
    found: list[str] = []

    async def pause() -> None:
        for _ in range(rng.randrange(4) if rng is not None else 0):
            await asyncio.sleep(0)

    async def part(inner: "int | Shape") -> None:
        if isinstance(inner, int):
            for _ in range(inner):
                await pause()
                found.append(branches.next_path())
                await pause()
        else:
            work: list[Awaitable[None]] = [part(each) for each in inner]
            await gather(branches, work)

    await part(shape)
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, seed=st.integers())
def test_numbers_do_not_depend_on_scheduling(shape: Shape, seed: int) -> None:
    """Random pauses between any two operations change no path, and no path is given twice."""
    plain = asyncio.run(paths(shape, None))
    assert asyncio.run(paths(shape, random.Random(seed))) == plain
    assert len(set(plain)) == len(plain)


async def test_a_gather_takes_one_number_and_its_branches_letters() -> None:
    """1, then a gather at 2 with branches a and b, then 3."""
    branches = Branches()

    async def branch() -> tuple[str, str]:
        return branches.next_path(), branches.next_path()

    assert branches.next_path() == "1"
    assert await gather(branches, [branch(), branch()]) == [("2.a.1", "2.a.2"), ("2.b.1", "2.b.2")]
    assert branches.next_path() == "3"
    assert await gather(branches, list[Awaitable[str]]()) == []


async def test_another_task_may_not_number() -> None:
    """It would take the number of whoever runs at that moment."""
    branches = Branches()

    async def foreign() -> str:
        return branches.next_path()

    with pytest.raises(ForeignTask, match=r"ctx\.gather"):
        await asyncio.create_task(foreign())


async def test_the_first_failure_is_raised_when_all_have_ended() -> None:
    """No branch runs on behind the handler's back."""
    branches = Branches()
    ended: list[str] = []

    async def fails() -> None:
        raise ValueError("first")

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    with pytest.raises(ValueError, match="first"):
        await gather(branches, [cleans_up(), fails()])
    assert ended == ["cleaned up"]


async def test_cancelling_a_gather_cancels_its_branches() -> None:
    """A handler that is stopped leaves nothing running."""
    branches: list[Branches] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    async def branch() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def handler() -> None:
        branches.append(Branches())
        await gather(branches[0], [branch()])

    task = asyncio.create_task(handler())
    await asyncio.wait_for(begun.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
