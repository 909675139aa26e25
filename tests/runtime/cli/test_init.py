"""``antiphon init``: which model it takes, what it writes, and what it never overwrites."""

import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from antiphon.runtime.cli.commands import app
from antiphon.runtime.models.setting import BusSetting, LocalSetting, ModelSetting, OpenAISetting
from antiphon.runtime.scaffold.project import NEXT, PATHS, name_of, project, settings_file
from antiphon.runtime.settings import load_settings

CHECKED = Path(__file__).parents[3] / ".mypy_cache" / "scaffold"
FILES = ["pyproject.toml", "agents.py", "tests/test_agents.py", "README.md", ".gitignore", "antiphon.toml"]


class Ollama(BaseHTTPRequestHandler):
    """Says which models it has."""

    def do_GET(self) -> None:
        body = json.dumps({"models": [{"name": "llama3.2"}, {"name": "qwen3"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@contextmanager
def ollama() -> Generator[str, None, None]:
    """``OLLAMA_HOST`` of a server that runs."""
    with HTTPServer(("127.0.0.1", 0), Ollama) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and working directory, and a machine on which no model server runs."""
    for name in ("OLLAMA_HOST", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENROUTER_API_KEY", "OPENROUTER_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("antiphon.runtime.models.discovery._LOCAL", ())
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def antiphon(*arguments: str) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(app, ["init", *arguments])


def model_of(folder: Path) -> ModelSetting:
    """What the written settings say of the model."""
    settings = load_settings({"ANTIPHON_HOME": str(folder / "home")}, folder)
    assert settings.default_model == "main"
    return settings.models["main"]


def test_a_running_server_is_found_and_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first model, without a question where none was wanted."""
    with ollama() as host:
        monkeypatch.setenv("OLLAMA_HOST", host)
        done = antiphon("shop", "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert model_of(place / "shop") == OpenAISetting(base_url=f"http://{host}/v1", model="llama3.2")
    assert said["files"] == FILES
    assert said["replaced"] == []
    assert said["offered"][:2] == ["ollama/llama3.2", "ollama/qwen3"]
    assert (said["model"]["label"], said["model"]["model"]) == ("ollama/llama3.2", "llama3.2")
    assert said["next"] == ["cd shop", *NEXT]
    assert sorted(str(path.relative_to(place / "shop")) for path in (place / "shop").rglob("*") if path.is_file()) == (
        sorted(FILES)
    )


def test_a_key_is_named_and_never_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings hold the variable's name."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    done = antiphon("--model", "openai/some-model")
    assert done.exit_code == 0, done.stderr
    assert model_of(place) == OpenAISetting(
        base_url="https://api.openai.com/v1", model="some-model", api_key_env="OPENAI_API_KEY"
    )
    assert "antiphon.toml" in done.stdout
    assert not any("sk-secret" in path.read_text() for path in place.rglob("*") if path.is_file())


def test_with_nothing_running_the_built_in_model_is_taken(place: Path) -> None:
    """What has to be done first is told first."""
    done = antiphon(".", "--yes")
    assert done.exit_code == 0, done.stderr
    assert model_of(place) == LocalSetting(path="smollm2-135m")
    assert tomllib.loads((place / "pyproject.toml").read_text())["project"]["dependencies"] == ["antiphon[engine]"]
    steps = done.stdout.partition("next:\n")[2].split("\n  ")
    assert [step.strip() for step in steps] == ["antiphon models pull smollm2-135m", *NEXT]
    assert not (place / "home").exists()


def test_a_path_counts_from_where_it_was_typed(place: Path) -> None:
    """The project is in another folder."""
    assert antiphon("deep/er", "--model", "./models/tiny.gguf").exit_code == 0
    assert model_of(place / "deep" / "er") == LocalSetting(path=str(place / "models" / "tiny.gguf"))


def test_files_that_are_there_are_named_and_left_alone(place: Path) -> None:
    """All or nothing; --force replaces, and what a link points to is not written through."""
    elsewhere = place / "elsewhere.md"
    elsewhere.write_text("mine")
    (place / "README.md").symlink_to(elsewhere)
    (place / "agents.py").write_text("mine")
    refused = antiphon(".", "--yes")
    assert refused.exit_code == 1
    assert "has agents.py, README.md already" in refused.stderr.replace("\n", " ")
    assert (place / "agents.py").read_text() == "mine"
    assert not (place / "antiphon.toml").exists()

    done = antiphon(".", "--yes", "--force")
    assert done.exit_code == 0, done.stderr
    assert "(replaced: agents.py, README.md)" in done.stdout
    assert "guide" in (place / "agents.py").read_text()
    assert elsewhere.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--json",), "nobody can be asked which model to use (smollm2-135m): give --model NAME, or --yes"),
        (("--model", "ollama/llama3.2"), "model 'ollama/llama3.2' is none of those found (smollm2-135m)"),
        (("--model", "http://localhost:99999/v1#m"), "model 'http://localhost:99999/v1#m': "),
        (("--model", "hf:nobody"), "found model 'hf:nobody'"),
        (("taken/project", "--yes"), "cannot write"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(place: Path, arguments: tuple[str, ...], says: str) -> None:
    """By type, with what to do instead."""
    (place / "taken").write_text("a file")
    done = antiphon(*arguments)
    assert done.exit_code == 1
    told = json.loads(done.stdout)["error"]["message"] if "--json" in arguments else done.stderr.replace("\n", " ")
    assert says in told
    assert sorted(path.name for path in place.iterdir()) == ["taken"]


def test_a_person_at_a_terminal_is_asked(place: Path) -> None:
    """A number or a name; what is neither is told, and asked again."""
    with ollama() as host:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "antiphon.runtime.cli.main", "init", "shop"],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OLLAMA_HOST": host, "COLUMNS": "200"},
        )
        os.write(master, b"9\nollama/qwen3\n")
        out, err = process.communicate(timeout=300)
        os.close(slave)
        os.close(master)
    assert process.returncode == 0, err
    assert "1  ollama/llama3.2" in err
    assert "model '9' is none of those found" in err
    assert model_of(place / "shop") == OpenAISetting(base_url=f"http://{host}/v1", model="qwen3")
    assert "next:\n  cd shop\n" in out


@pytest.mark.parametrize(
    "setting",
    [
        LocalSetting(path='a "quoted" \\ path', threads=2),
        OpenAISetting(
            base_url="http://h:1/v1",
            model="模型/ü",
            api_key_env="KEY",
            usd_per_million_input=1.5,
            usd_per_million_output=2,
        ),
        BusSetting(),
    ],
)
def test_every_kind_of_model_comes_back_from_the_settings_file(place: Path, setting: ModelSetting) -> None:
    """Written and read by the rules of TOML."""
    (place / "antiphon.toml").write_text(settings_file(setting), encoding="utf-8")
    assert model_of(place) == setting


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Shop", "shop"), ("My first agents!", "my-first-agents"), ("", "my-agents"), ("日本", "my-agents")],
)
def test_a_project_is_named_after_its_folder(folder: str, name: str) -> None:
    """In the letters that a distribution's name may have."""
    assert name_of(folder) == name
    assert tomllib.loads(project(name, BusSetting())["pyproject.toml"])["project"]["name"] == name


def test_the_paths_are_those_of_the_files() -> None:
    """What is looked for before anything is written is what is written."""
    assert tuple(project("p", BusSetting())) == PATHS
    assert list(PATHS) == FILES


def test_the_project_passes_its_test_and_the_checkers(place: Path) -> None:
    """As written: pytest, ruff with its stricter rules, mypy in strict mode."""
    assert antiphon("shop", "--yes").exit_code == 0
    bin = Path(sys.executable).parent
    for command in (
        ["pytest", "-q", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider"],
        [
            "ruff",
            "check",
            "--isolated",
            "--no-cache",
            "--select",
            "E,F,I,B,UP,SIM,RUF,ASYNC,D1",
            "--line-length",
            "120",
        ],
        ["ruff", "format", "--check", "--isolated", "--no-cache", "--line-length", "120"],
        ["mypy", "--strict", "--cache-dir", str(CHECKED), "."],  # the package itself is read once
    ):
        done = subprocess.run(
            [bin / command[0], *command[1:]], cwd=place / "shop", capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
