"""The process of a model, run here without one."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.engine.runner import Runner
from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.errors import ModelUnavailable
from antiphon.runtime.models import worker
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.frames import Ask, End, Frames, Load, Loaded
from antiphon.runtime.models.local_instance import local_instance
from antiphon.runtime.models.setting import LocalSetting
from antiphon.schemas.inference import GenerateRequest, Sampling


async def ends() -> tuple[Frames, Frames]:
    """Both ends of a socket."""
    first, second = socket.socketpair()
    return Frames(*await asyncio.open_connection(sock=first)), Frames(*await asyncio.open_connection(sock=second))


async def test_a_step_that_never_ends_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop still turns, so only the engine's own time says that it hangs: the process is to end."""
    gate = threading.Event()
    real = Runner.run

    def held(runner: Runner, *arguments: Any) -> Any:
        assert gate.wait(120)
        return real(runner, *arguments)

    monkeypatch.setattr(Runner, "run", held)
    monkeypatch.setattr(worker, "_HANGS_S", 0.05)
    monkeypatch.setattr(worker, "SIGN_S", 0.01)
    made: list[ModelInstance] = []

    def kept(*arguments: Any) -> ModelInstance:
        made.append(local_instance(*arguments))
        return made[0]

    monkeypatch.setattr(worker, "local_instance", kept)
    ours, theirs = await ends()
    setting = LocalSetting(path=str(write_tiny_checkpoint(tmp_path / "tiny"))).model_dump_json().encode()
    hosted = worker.Worker(theirs)
    running = asyncio.create_task(hosted.run())
    ours.post(Load("tiny", setting, str(tmp_path)))
    while not isinstance(await ours.receive(30), Loaded):
        pass
    assert not running.done()  # idle for as long as it likes
    asked = GenerateRequest(model="tiny", prompt=(1, 2), sampling=Sampling(max_tokens=2))
    ours.post(Ask(1, "generate", encode(asked)))
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(60):
            await running
    assert caught.group_contains(ModelUnavailable, match="at one step")
    gate.set()
    await made[0].close()
    while not (isinstance(frame := await ours.receive(30), End) and frame.call == 1):
        pass
    theirs.close()
    while await ours.receive(30) is not None:
        pass
    ours.close()
