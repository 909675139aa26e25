"""Nodes that die, drain and are interrupted: no task is lost, none has two results, nothing is left running."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from antiphon import Handler, TaskHandle, connect
from antiphon.runtime.node import DRAIN_S
from antiphon.schemas import subjects
from antiphon.schemas.task import TaskState

if TYPE_CHECKING:
    from tests.acceptance.conftest import Eventually, Place

Peer = Callable[[str], Handler[Any, Any]]


async def test_a_killed_node_s_task_is_finished_by_another(
    place: "Place", peer: Peer, eventually: "Eventually", tmp_path: Path
) -> None:
    """kill -9 in the middle of a task: another node has it soon, and there is exactly one result."""
    work = peer("worker.work")
    diary, gate = tmp_path / "diary", tmp_path / "gate"
    nodes = {node.process.pid: node for node in [await asyncio.to_thread(place.node) for _ in range(2)]}
    async with connect(settings=place.settings) as client:
        task = await client.submit(work, work.input(diary=str(diary), gate=str(gate)))
        holder = await asyncio.to_thread(eventually, lambda: _holders(diary))
        nodes[holder[0]].process.kill()
        killed_s = time.monotonic()
        holders = await asyncio.to_thread(eventually, lambda: _holders(diary)[1:])
        took_s = time.monotonic() - killed_s
        assert holders[0] in nodes
        assert holders[0] != holder[0]
        assert took_s < 30, took_s  # a lease is one second here, and 30 where an agent says nothing
        gate.touch()
        assert (await task.result(timeout_s=240)).attempt == 2
        assert await _results(client, task) == [TaskState.SUCCEEDED]


async def test_sigterm_lets_a_task_end_and_leaves_nothing(
    place: "Place", peer: Peer, eventually: "Eventually", tmp_path: Path
) -> None:
    """A draining node takes no more and finishes what it holds, then ends with status 0."""
    work = peer("worker.work")
    diary, gate = tmp_path / "diary", tmp_path / "gate"
    node = await asyncio.to_thread(place.node)
    async with connect(settings=place.settings) as client:
        task = await client.submit(work, work.input(diary=str(diary), gate=str(gate)))
        await asyncio.to_thread(eventually, lambda: _holders(diary))
        node.process.terminate()
        await asyncio.to_thread(node.says, "node_draining")
        gate.touch()
        assert (await task.result(timeout_s=240)).attempt == 1
        assert await asyncio.to_thread(node.ends) == 0
    await asyncio.to_thread(place.is_quiet)


async def test_a_second_ctrl_c_ends_at_once_and_the_task_goes_on_elsewhere(
    place: "Place", peer: Peer, eventually: "Eventually", tmp_path: Path
) -> None:
    """Who does not want to wait for the drain gets status 130 before it is over; the work is not lost."""
    work = peer("worker.work")
    diary, gate = tmp_path / "diary", tmp_path / "gate"
    node = await asyncio.to_thread(place.node)
    async with connect(settings=place.settings) as client:
        task = await client.submit(work, work.input(diary=str(diary), gate=str(gate)))
        await asyncio.to_thread(eventually, lambda: _holders(diary))
        node.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(node.says, "node_draining")
        node.process.send_signal(signal.SIGTERM)  # what supervisors repeat hurries nobody
        pressed_s = time.monotonic()
        assert await asyncio.to_thread(node.ends, signal.SIGINT) == 130
        assert time.monotonic() - pressed_s < DRAIN_S
        await asyncio.to_thread(place.node)
        await asyncio.to_thread(eventually, lambda: len(_holders(diary)) == 2)
        gate.touch()
        assert (await task.result(timeout_s=240)).attempt == 2


async def test_a_task_whose_every_worker_dies_is_dead(
    place: "Place", peer: Peer, eventually: "Eventually", tmp_path: Path
) -> None:
    """Work that kills its nodes stops after max_attempts, and says so."""
    work = peer("worker.work")
    diary = tmp_path / "diary"
    async with connect(settings=place.settings) as client:
        node = await asyncio.to_thread(place.node)
        task = await client.submit(work, work.input(diary=str(diary), gate=str(tmp_path / "never")))
        for attempt in range(1, 4):
            await asyncio.to_thread(eventually, lambda attempt=attempt: len(_holders(diary)) == attempt)
            node.process.kill()
            node = await asyncio.to_thread(place.node)
        with pytest.raises(Exception, match="dead after 3 attempts"):
            await task.result(timeout_s=240)
        assert await _results(client, task) == [TaskState.DEAD]
        assert await client.host.bus.streams.last(subjects.dead("default", "worker")) is not None


@pytest.mark.parametrize("command", ["run", "up", "submit"])
def test_ctrl_c_at_any_moment_leaves_nothing(place: "Place", command: str, eventually: "Eventually") -> None:
    """SIGINT to the whole group, from the first import to the drain: a documented status, no traceback, no process."""
    arguments = {
        "run": ("run", f"{place.workshop}:system"),
        "up": ("up",),
        "submit": ("submit", "worker.work", '{"diary": "/dev/null", "gate": "/nowhere"}', "--wait"),
    }[command]
    if command == "submit":
        place.node()
    before = set(place.processes())
    rng = random.Random(command)
    for moment_s in sorted(rng.uniform(0.02, 2.0) for _ in range(5)):
        running = place.start(*arguments)
        time.sleep(moment_s)  # the moment is what is being tested
        os.killpg(running.process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(10)
        if running.process.returncode is None and "Exception ignored" in running.said:
            # The interrupt fell into a callback of importlib, before any of our code ran: a person presses again.
            os.killpg(running.process.pid, signal.SIGINT)
        status = running.ends()
        said = f"status {status} after {moment_s:.2f} s:\n{running.said}"
        if status == -signal.SIGINT:
            # Python itself was starting, or importing the package that the entry point lies in.
            assert "Traceback" not in running.said or "import main" in running.said or "site" in running.said, said
        else:
            assert status in (0, 130), said
            assert "Traceback" not in running.said, said
        eventually(lambda: set(place.processes()) <= before, lambda: str(place.processes()))


def _holders(diary: Path) -> list[int]:
    """The processes that began an attempt, in order."""
    return [int(line.split()[0]) for line in diary.read_text().splitlines()] if diary.exists() else []


async def _results(client: Any, task: TaskHandle[Any]) -> list[TaskState]:
    """The states of all terminal records of a task; there may be only one."""
    from antiphon.runtime.delivery.payload import decode
    from antiphon.schemas.task import TaskResult

    subject = subjects.result("default", task.id)
    return [
        decode(TaskResult, stored.body).state
        async for stored in client.host.bus.streams.read("ANTIPHON_RESULTS", subject)
    ]
