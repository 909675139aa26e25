"""Virtual time: no waiting, orders drawn from a seed, and a clear error for what cannot go on."""

import asyncio
import gc
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from antiphon.runtime.clock import LoopClock, SystemClock
from antiphon.runtime.errors import ConfigurationError, Stalled
from antiphon.runtime.virtual_time import (
    EPOCH_UNIX_S,
    ManualClock,
    VirtualClock,
    VirtualLoop,
    run_virtual,
    virtual_time,
)
from antiphon.schemas.identity import new_id

SEEDS = range(40)


def now_s() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


async def three_ticking() -> list[tuple[str, int]]:
    """The order in which three tasks wake, three times at the same moments."""
    woken: list[tuple[str, int]] = []

    async def tick(name: str) -> None:
        for turn in range(3):
            await asyncio.sleep(1)
            woken.append((name, turn))

    await asyncio.gather(*(tick(name) for name in "abc"))
    return woken


def test_an_hour_takes_no_time_and_timers_go_off_to_the_moment() -> None:
    """Sleeps, timeouts and deadlines all follow the loop."""

    async def main() -> list[float]:
        seen = [now_s()]
        await asyncio.sleep(3600)
        seen.append(now_s())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.25)
        seen.append(now_s())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(5000):
                await asyncio.Event().wait()
        return [*seen, now_s()]

    began = time.perf_counter()
    assert run_virtual(main()) == [0, 3600, 3600.25, 5000]
    assert time.perf_counter() - began < 60


def test_a_seed_gives_one_order_and_seeds_give_many() -> None:
    """Six orders of three tasks are all found; the same seed finds the same one again."""
    orders = [run_virtual(three_ticking(), seed=seed) for seed in SEEDS]
    assert orders == [run_virtual(three_ticking(), seed=seed) for seed in SEEDS]
    assert {tuple(name for name, _ in order[3:6]) for order in orders} == set(itertools.permutations("abc"))
    assert all([turn for _, turn in order] == sorted(turn for _, turn in order) for order in orders)


def test_without_shuffle_the_order_is_asyncio_s() -> None:
    """First registered, first called."""
    assert [name for name, _ in run_virtual(three_ticking(), shuffle=False)] == list("abcabcabc")


def test_what_one_callback_registers_keeps_its_order() -> None:
    """Tasks start in the order of their making, and before their maker goes on from ``sleep(0)``; waiters in turn."""

    async def main() -> list[str]:
        seen: list[str] = []
        event = asyncio.Event()

        async def note(name: str) -> None:
            seen.append(f"start {name}")
            await event.wait()
            seen.append(f"woken {name}")

        noise = [asyncio.create_task(asyncio.sleep(0)) for _ in range(5)]
        tasks = [asyncio.create_task(note(name)) for name in "ab"]
        await asyncio.sleep(0)
        seen.append("maker")
        event.set()
        future = asyncio.get_running_loop().create_future()
        for name in "xy":
            future.add_done_callback(partial(lambda name, _: seen.append(f"done {name}"), name))
        future.set_result(None)
        await asyncio.gather(*tasks, *noise, future)
        return seen

    expected = ["start a", "start b", "maker", "woken a", "woken b", "done x", "done y"]
    assert all(run_virtual(main(), seed=seed) == expected for seed in SEEDS)


def test_what_is_registered_in_a_turn_waits_for_the_next() -> None:
    """Nobody overtakes those that were ready before it was."""

    async def main() -> list[str]:
        seen: list[str] = []

        async def early(name: str) -> None:
            await asyncio.sleep(1)
            seen.append(name)
            asyncio.get_running_loop().call_soon(seen.append, "late")

        await asyncio.gather(*(early(name) for name in "abc"))
        await asyncio.sleep(1)
        return seen

    for seed in SEEDS:
        assert sorted(run_virtual(main(), seed=seed)[:3]) == ["a", "b", "c"]


def test_cancelled_timers_do_not_pile_up() -> None:
    """A program that sets and cancels long timeouts keeps a short heap, and none of them goes off."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for _ in range(1000):
            async with asyncio.timeout(7200):
                await asyncio.sleep(0.001)
        return len(loop._timers)

    assert run_virtual(main()) < 250


def test_ids_and_sets_of_tasks_follow_the_seed() -> None:
    """Ids repeat, and so does the order of asyncio's own sets of tasks."""

    async def main() -> tuple[list[str], list[int]]:
        ids: list[str] = []

        async def child(index: int) -> int:
            ids.append(new_id())
            return index

        done, _ = await asyncio.wait([asyncio.create_task(child(index)) for index in range(50)])
        return ids, [task.result() for task in done]

    first, again, other = run_virtual(main(), seed=1), run_virtual(main(), seed=1), run_virtual(main(), seed=2)
    assert first == again
    assert first[0] != other[0]
    assert len(set(first[0])) == 50
    assert new_id() != new_id()


def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    """Neither the hashes of strings nor addresses of objects decide anything."""
    code = (
        "import asyncio\n"
        "from antiphon.runtime.virtual_time import run_virtual\n"
        "async def main():\n"
        "    seen = []\n"
        "    async def one(n):\n"
        "        for _ in range(3):\n"
        "            await asyncio.sleep(0.5)\n"
        "            seen.append(n)\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        for n in range(9):\n"
        "            group.create_task(one(n))\n"
        "    return seen\n"
        "print(run_virtual(main(), seed=5))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_deadlock_names_who_waits_and_where() -> None:
    """Nothing ready, no timer: an error instead of a hang."""

    async def starve(queue: "asyncio.Queue[int]") -> None:
        await queue.get()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(starve(asyncio.Queue()), name="starving")
            group.create_task(starve(asyncio.Queue()))

    with pytest.raises(Stalled) as caught:
        run_virtual(main(), seed=9)
    message = caught.value.message
    assert "deadlocked: nothing is ready and no timer is set (seed 9)" in message
    assert "task-1: test_a_deadlock_names_who_waits_and_where.<locals>.main at " in message
    assert "starving: test_a_deadlock_names_who_waits_and_where.<locals>.starve at " in message
    assert "queues.py:" in message


def test_a_program_that_never_ends_is_stopped() -> None:
    """By virtual time where it sleeps, by turns where it spins; its tasks are then cancelled as usual."""
    ended: list[str] = []

    async def tick(pause_s: float) -> None:
        try:
            for _ in itertools.count():
                await asyncio.sleep(pause_s)
        finally:
            await asyncio.sleep(pause_s)
            ended.append(f"{pause_s}")

    with pytest.raises(Stalled, match=r"not done after 60 virtual seconds"):
        run_virtual(tick(7.0), limit_s=60)
    with pytest.raises(Stalled, match=r"spins: 100000 turns of the loop at 0 s"):
        run_virtual(tick(0))
    assert ended == ["7.0", "0"]


def test_to_thread_runs_inline() -> None:
    """On the loop's thread, in a later turn; results, errors and cancellation as in asyncio."""

    def fail() -> None:
        raise ValueError("inside")

    async def main() -> None:
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ValueError, match="inside"):
            await asyncio.to_thread(fail)
        ran: list[int] = []
        with ThreadPoolExecutor(1) as pool:
            asyncio.get_running_loop().run_in_executor(pool, ran.append, 1).cancel()
            await asyncio.get_running_loop().run_in_executor(pool, ran.append, 2)
        assert ran == [2]

    run_virtual(main())


def test_threads_that_call_in_are_refused() -> None:
    """There, and in the error of whoever waited for them."""
    refused: list[Exception] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(future.set_result, 1)
            except ConfigurationError as error:
                refused.append(error)

        thread = threading.Thread(target=call, name="stranger")
        thread.start()
        thread.join()
        await future

    with pytest.raises(Stalled, match="thread 'stranger' was refused"):
        run_virtual(main())
    assert "thread 'stranger' called into a loop with virtual time" in str(refused[0])


async def connect() -> None:
    """A socket."""
    await asyncio.open_connection("localhost", 1)


async def resolve() -> None:
    """A name server."""
    await asyncio.get_running_loop().getaddrinfo("localhost", 1)


async def execute() -> None:
    """A child process."""
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize("reach", [connect, resolve, execute])
def test_what_is_outside_is_refused(reach: Callable[[], object]) -> None:
    """Sockets and child processes, with what to do instead."""
    with pytest.raises(ConfigurationError, match=r"nothing outside it; expected .* or run this test on an ordinary"):
        run_virtual(reach())  # type: ignore[arg-type]  # all are coroutine functions


def test_clocks_of_a_virtual_loop() -> None:
    """Unix time is the epoch plus the loop's, skewed where asked; durations know no skew."""

    async def main() -> None:
        clock, ahead, found = VirtualClock(), VirtualClock(skew_s=2.5), LoopClock()
        await asyncio.sleep(1.25)
        assert clock.unix_ns() == found.unix_ns() == EPOCH_UNIX_S * 10**9 + 1_250_000_000
        assert ahead.unix_ns() - clock.unix_ns() == 2_500_000_000
        assert clock.monotonic_s() == ahead.monotonic_s() == found.monotonic_s() == 1.25

    run_virtual(main())


async def test_the_loop_clock_of_an_ordinary_loop_is_the_machine_s() -> None:
    """Between two readings of the machine's."""
    before, found, after = SystemClock().unix_ns(), LoopClock().unix_ns(), SystemClock().unix_ns()
    assert before <= found <= after
    assert SystemClock().monotonic_s() <= LoopClock().monotonic_s() <= SystemClock().monotonic_s()


def test_a_manual_clock_stands_still() -> None:
    """Until it is moved."""
    clock = ManualClock(unix_s=1000)
    assert (clock.unix_ns(), clock.monotonic_s()) == (1_000_000_000_000, 0)
    clock.advance(1.5)
    assert (clock.unix_ns(), clock.monotonic_s()) == (1_001_500_000_000, 1.5)


def test_the_garbage_collector_rests_and_comes_back() -> None:
    """An error does not leave it off."""

    async def main() -> None:
        assert not gc.isenabled()
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        run_virtual(main())
    assert gc.isenabled()


def test_a_failing_seed_is_named() -> None:
    """The decorated test is an ordinary one, keeps its arguments, and tells which seed repeats a failure."""
    ran: list[tuple[int, int]] = []

    @virtual_time(seeds=range(10))
    async def example(value: int) -> None:
        """Fails on the fourth seed."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        ran.append((loop.seed, value))
        assert loop.seed != 3

    with pytest.raises(AssertionError) as caught:
        example(value=7)
    assert ran == [(seed, 7) for seed in range(4)]
    assert caught.value.__notes__ == ["under virtual time with seed 3: seeds=(3,) repeats it"]
    assert example.__doc__ == "Fails on the fourth seed."


@virtual_time()
async def test_a_decorated_test_gets_fixtures(tmp_path: Path) -> None:
    """pytest sees the parameters of the function inside."""
    assert tmp_path.parts
    await asyncio.sleep(3600)
    assert now_s() == 3600
