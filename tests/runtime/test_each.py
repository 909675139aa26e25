"""Steps that need nothing of one another."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.branches import Branches
from antiphon.runtime.each import each
from antiphon.runtime.testing import run_virtual, virtual_time

Step = tuple[float, bool]  # seconds it takes, whether it fails


def outcome(steps: list[Step], width: int, seed: int = 0) -> tuple[Any, dict[int, list[str]], int]:
    """What came of steps that make two operations each; the numbers they had; how many ran at once at most."""
    paths: dict[int, list[str]] = {}
    running = most = 0

    async def program() -> Any:
        branches = Branches()

        async def step(index: int, length_s: float, fails: bool) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                paths[index] = [branches.next_path()]
                await asyncio.sleep(length_s)
                paths[index].append(branches.next_path())
                if fails:
                    raise ValueError(index)
                return index
            finally:
                running -= 1

        work = [step(index, length_s, fails) for index, (length_s, fails) in enumerate(steps)]
        try:
            found: Any = await each(branches, work, lambda: width)
        except ValueError as error:
            found = ("failed at", error.args[0])
        assert branches.next_path() == "2"
        assert len(asyncio.all_tasks()) == 1
        return found

    return run_virtual(program(), seed=seed), paths, most


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans()), max_size=6), st.integers(2, 8))
def test_any_width_gives_what_one_after_the_other_gives(steps: list[Step], width: int) -> None:
    """The same results or the same error, the same numbers for every step that counts, and never more than width."""
    one, one_paths, one_at_once = outcome(steps, 1)
    many, many_paths, at_once = outcome(steps, width, seed=len(steps))
    assert many == one
    assert one_at_once <= 1
    assert at_once <= width
    for index, numbers in one_paths.items():
        assert many_paths[index] == numbers


@virtual_time()
async def test_steps_take_as_long_as_the_longest_when_they_run_together() -> None:
    """One after the other 6 s, two at a time 4 s, all at once 3 s."""
    loop = asyncio.get_running_loop()
    for width, expected_s in ((1, 6.0), (2, 4.0), (8, 3.0)):
        began_s = loop.time()
        assert await each(Branches(), [_after(1.0), _after(2.0), _after(3.0)], _fixed(width)) == [1.0, 2.0, 3.0]
        assert loop.time() - began_s == pytest.approx(expected_s)


@virtual_time()
async def test_what_was_not_begun_is_let_go() -> None:
    """After a failure, or when the handler is cancelled, no coroutine is left that nobody awaits."""
    for width in (1, 2):
        with pytest.raises(ValueError, match="no"):
            await each(Branches(), [_fails(), _after(1.0), _after(1.0)], _fixed(width))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await each(Branches(), [_after(1.0), _after(1.0), _after(1.0)], _fixed(width))
    assert await each(Branches(), list[Awaitable[str]](), _fixed(2)) == []


def _fixed(width: int) -> Callable[[], int]:
    return lambda: width


async def _after(length_s: float) -> float:
    await asyncio.sleep(length_s)
    return length_s


async def _fails() -> float:
    raise ValueError("no")
