"""A model in a process of its own: what its death does, and what it does not."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from antiphon.runtime.clock import Clock
from antiphon.runtime.engine.testing import write_tiny_checkpoint, write_tiny_encoder
from antiphon.runtime.errors import ConfigurationError, InvalidRequest, ModelFileError, ModelUnavailable
from antiphon.runtime.models.process import ProcessModel
from antiphon.runtime.models.restarts import Intensity
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.models.structured import collect
from antiphon.runtime.virtual_time import ManualClock
from antiphon.schemas.inference import EmbedRequest, FinishReason, GenerateRequest, TextChunk

Ask = Callable[..., GenerateRequest]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with room for long replies."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), max_position_embeddings=8192, eos_token_id=None)


@asynccontextmanager
async def opened(
    path: Path, *, intensity: Intensity | None = None, clock: Clock | None = None, **setting: object
) -> AsyncGenerator[ProcessModel, None]:
    """An instance on the checkpoint at ``path``."""
    model = ProcessModel(
        "tiny",
        LocalSetting.model_validate({"path": str(path), **setting}),
        path.parent,
        intensity=intensity,
        clock=clock,
    )
    try:
        yield model
    finally:
        await model.close()


async def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - other processes announce nothing here
            await asyncio.sleep(0.01)


async def test_a_killed_child_fails_its_requests_and_is_back(checkpoint: Path, ask: Ask) -> None:
    """SIGKILL in the middle of two replies: both fail retryably and say why, and the next attempts succeed."""
    async with opened(checkpoint) as model:
        first, second = model.generate(ask(max_tokens=4000)), model.generate(ask(max_tokens=4000))
        async with aclosing(first), aclosing(second):
            assert isinstance(await anext(first), TextChunk)
            waiting = asyncio.create_task(collect(second))
            await until(lambda: model.active == 2)
            pid = model.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            for reading in (collect(first), waiting):
                with pytest.raises(
                    ModelUnavailable, match=r"killed by signal 9 \(SIGKILL: out of memory\?\)"
                ) as caught:
                    await asyncio.wait_for(reading, 60)
                assert caught.value.retryable
        await until(lambda: model.pid not in (None, pid))  # without being asked
        reply = await collect(model.generate(ask(max_tokens=4)))
        assert reply.finish.usage.output_tokens == 4
        assert (await model.metrics()).restarts == 1


async def test_a_child_that_keeps_dying_is_left_alone_for_a_while(checkpoint: Path, ask: Ask) -> None:
    """After too many failures requests are refused at once, with a time after which to come back; then it is tried."""
    clock = ManualClock()
    async with opened(checkpoint, intensity=Intensity(most=1, within_s=600.0, rest_s=60.0), clock=clock) as model:
        await model.capabilities()
        os.kill(model.pid or 0, signal.SIGKILL)
        await until(lambda: model.pid is None)
        for _ in range(2):
            with pytest.raises(ModelUnavailable, match=r"ended 1 times.* in 60 s") as caught:
                await asyncio.wait_for(collect(model.generate(ask())), 60)
            assert caught.value.details["retry_after_s"] == "60.0"
        clock.advance(61.0)
        assert (await collect(model.generate(ask(max_tokens=3)))).finish.usage.output_tokens == 3


async def test_a_stopped_child_is_noticed(checkpoint: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing any more is killed, and its requests end; a deadline does not wait for that."""
    async with opened(checkpoint) as model:
        await model.capabilities()
        pid = model.pid or 0
        os.kill(pid, signal.SIGSTOP)
        soon = ask(deadline_unix_ms=int(time.time() * 1000) + 100)
        assert (await asyncio.wait_for(collect(model.generate(soon)), 60)).finish.reason is FinishReason.CANCELLED
        os.kill(pid, signal.SIGCONT)
        await until(lambda: model.active == 0)
        monkeypatch.setattr("antiphon.runtime.models.child._SILENCE_S", 2.5)  # a sign comes every 2
        await collect(model.generate(ask(max_tokens=1)))  # from now on it counts
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ModelUnavailable, match=r"said nothing for 2\.5 s and was killed"):
            await asyncio.wait_for(collect(model.generate(ask())), 60)


async def test_errors_arrive_as_they_are(tmp_path: Path, checkpoint: Path, ask: Ask) -> None:
    """What cannot be loaded, configured or asked is the same error as in this process; a mended file is tried again."""
    broken = tmp_path / "broken"
    async with opened(broken) as model:
        with pytest.raises(ModelFileError, match="where nothing is"):
            await model.capabilities()
        write_tiny_checkpoint(broken)
        assert (await collect(model.generate(ask(max_tokens=2)))).finish.usage.output_tokens <= 2
        with pytest.raises(InvalidRequest, match="does not embed"):
            await model.embed(EmbedRequest(model="tiny", texts=("a",)))
    async with opened(checkpoint, units={"acme": 2}) as model:
        with pytest.raises(ConfigurationError, match="antiphon models calibrate tiny"):
            await collect(model.generate(ask()))


async def test_vectors_come_from_a_process_too(tmp_path: Path) -> None:
    """The child hosts whatever the checkpoint is."""
    async with opened(write_tiny_encoder(tmp_path / "encoder")) as model:
        found = await model.embed(EmbedRequest(model="tiny", texts=("the sea", "the sky")))
        assert [len(vector) for vector in found.vectors] == [32, 32]
        assert (await model.capabilities()).embeddings


PARENT = """
import asyncio, sys
from pathlib import Path
from antiphon.runtime.models.process import ProcessModel
from antiphon.runtime.models.setting import LocalSetting

async def main():
    model = ProcessModel("tiny", LocalSetting(path=sys.argv[1]), Path(sys.argv[1]))
    await model.capabilities()
    print(model.pid, file=open(sys.argv[2], "w"), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_child_dies_with_its_parent(checkpoint: Path, tmp_path: Path) -> None:
    """kill -9 on the parent leaves no process behind."""
    said = tmp_path / "pid"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(checkpoint), str(said), stdout=asyncio.subprocess.DEVNULL
    )
    await until(lambda: said.exists() and said.read_text().endswith("\n"), 60)
    child = int(said.read_text())
    assert _runs(child)
    parent.kill()
    await parent.wait()
    await until(lambda: not _runs(child), 10)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
