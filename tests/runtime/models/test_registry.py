"""The registry: names to shared instances, and errors that say how to get a model."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.engine.testing import write_tiny_checkpoint, write_tiny_encoder
from antiphon.runtime.errors import ConfigurationError, ModelFileError, ModelUnavailable, UnknownModel
from antiphon.runtime.models.bus import BusModel
from antiphon.runtime.models.embedding import EmbeddingModel
from antiphon.runtime.models.openai import OpenAIModel
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.models.structured import collect
from antiphon.runtime.models.tool_prompt import PromptedTools
from antiphon.runtime.settings import Settings, load_settings
from antiphon.schemas.inference import GenerateRequest

Ask = Callable[..., GenerateRequest]


def settings(tmp_path: Path, **models: object) -> Settings:
    """Settings with these models and a home of their own."""
    return load_settings({"ANTIPHON_HOME": str(tmp_path), "ANTIPHON_MODELS": json.dumps(models)}, tmp_path)


async def test_a_kind_gives_its_adapter(tmp_path: Path) -> None:
    """Swapping a model is configuration."""
    write_tiny_checkpoint(tmp_path / "checkpoint")
    write_tiny_encoder(tmp_path / "encoder")
    bus = MemoryBus()
    registry = ModelRegistry(
        settings(tmp_path, remote="http://127.0.0.1:1/v1#m", shared="bus", mine="./checkpoint", near="./encoder"),
        bus=bus,
    )
    assert registry.names == ("all-minilm-l6-v2", "mine", "near", "remote", "shared", "smollm2-135m")
    assert isinstance(await registry.get("remote"), OpenAIModel)
    assert isinstance(await registry.get("shared"), BusModel)
    assert isinstance(await registry.get("near"), EmbeddingModel)
    assert isinstance(await registry.get("mine"), PromptedTools)  # around a LocalModel, which knows no tools
    await registry.close()
    await bus.close()


async def test_an_endpoint_without_tools_gets_them_in_its_prompt(tmp_path: Path) -> None:
    """Where settings say that the model there calls none itself."""
    endpoint = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    registry = ModelRegistry(settings(tmp_path, able=endpoint, plain={**endpoint, "tools": False}))
    assert isinstance(await registry.get("able"), OpenAIModel)
    assert isinstance(await registry.get("plain"), PromptedTools)
    await registry.close()


async def test_an_instance_is_made_once(tmp_path: Path) -> None:
    """First uses at the same time share one instance, for its weights are large."""
    registry = ModelRegistry(settings(tmp_path, remote="http://127.0.0.1:1/v1#m"))
    first, second = await asyncio.gather(registry.get("remote"), registry.get("remote"))
    assert first is second
    await registry.close()


async def test_instances_can_be_given(tmp_path: Path) -> None:
    """A double takes the place of a setting of its name."""
    scripted = ScriptedModel(["hi"])
    registry = ModelRegistry(settings(tmp_path), instances={"smollm2-135m": scripted, "other": scripted})
    assert await registry.get("smollm2-135m") is scripted
    assert "other" in registry.names
    await registry.close()


async def test_an_unknown_name_says_how_to_define_it(tmp_path: Path) -> None:
    """With the names that are known."""
    registry = ModelRegistry(settings(tmp_path))
    with pytest.raises(
        UnknownModel, match=r"'big' is unknown, expected one of .*smollm2-135m: define it in antiphon\.t"
    ):
        await registry.get("big")


@pytest.mark.parametrize("path", ["smollm2-135m", "hf:org/name"])
async def test_a_model_that_was_not_pulled_says_how(tmp_path: Path, path: str) -> None:
    """The command to type, and asking again works once it was typed."""
    registry = ModelRegistry(settings(tmp_path, mine=path))
    with pytest.raises(ModelFileError, match=f"antiphon models pull {path}"):
        await registry.get("mine")


async def test_a_path_where_nothing_is_says_what_is_expected(tmp_path: Path) -> None:
    """A mistyped folder is not taken for something to load later."""
    registry = ModelRegistry(settings(tmp_path, mine="./nothing-here"))
    with pytest.raises(ModelFileError, match="nothing-here, where nothing is: expected a GGUF file, a folder"):
        await registry.get("mine")


async def test_what_a_model_needs_is_asked_for(tmp_path: Path) -> None:
    """A bus, or the variable with the key."""
    keyed = {"kind": "openai", "base_url": "https://h/v1", "model": "m", "api_key_env": "H_KEY"}
    registry = ModelRegistry(settings(tmp_path, shared="bus", keyed=keyed))
    with pytest.raises(ConfigurationError, match="this process is on none"):
        await registry.get("shared")
    with pytest.raises(ConfigurationError, match="export H_KEY"):
        await registry.get("keyed")


async def test_close_closes_all(tmp_path: Path, ask: Ask) -> None:
    """One instance that fails to close keeps no other open, and nothing is handed out afterwards."""

    class Stuck(ScriptedModel):
        async def close(self) -> None:
            raise OSError("stuck")

    fine = ScriptedModel(["hi"])
    registry = ModelRegistry(settings(tmp_path), instances={"a": Stuck([]), "b": fine})
    with pytest.raises(ExceptionGroup, match="did not close"):
        await registry.close()
    with pytest.raises(ModelUnavailable):
        await collect(fine.generate(ask()))
    with pytest.raises(ModelUnavailable, match="shutting down"):
        await registry.get("b")
    await registry.close()
