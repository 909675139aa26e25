"""Commands that need no server: their output and their errors."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from antiphon.runtime.cli.commands import app
from antiphon.runtime.passwords import matches
from antiphon.runtime.version import VERSION

NEWSROOM = Path(__file__).parents[3] / "examples" / "newsroom.py"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a working directory without a settings file."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def antiphon(*arguments: str, stdin: str = "") -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(app, arguments, input=stdin)


def test_version_and_help() -> None:
    """Both leave with status 0."""
    assert antiphon("--version").output == f"{VERSION}\n"
    assert "submit" in antiphon("--help").output


def test_schemas_are_valid_json_and_include_a_system_s_own() -> None:
    """Keyed by Name@version, for other languages to generate code from."""
    built_in = json.loads(antiphon("schemas").stdout)
    assert {"TaskResult@1", "Finding@2", "GenerateRequest@1", "TelemetryBatch@1"} <= set(built_in)
    own = json.loads(antiphon("schemas", f"{NEWSROOM}:system").stdout)
    assert set(own) - set(built_in) == {"Question@1", "Draft@1", "Review@1"}


def test_models_lists_the_built_in_one() -> None:
    """With where it comes from, as a table and as JSON."""
    assert json.loads(antiphon("models", "list", "--json").stdout)["smollm2-135m"]["kind"] == "local"
    assert "smollm2-135m" in antiphon("models", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "nothing.py:system"), "LoadError: no file nothing.py"),
        (("run", "newsroom"), "LoadError: 'newsroom': expected FILE.py:NAME"),
        (("schemas", "nothing.py:system"), "LoadError: no file nothing.py"),
        (("submit", "writer.write", "{"), "InvalidMessage: the message is not JSON"),
        (("ask", "writer.write", "[1]"), "InvalidMessage: the message is a JSON list, expected an object"),
        (("ask", "writer.write", ""), "InvalidMessage: the message is not JSON"),
        (("result", "no/such"), "ConfigurationError: task id 'no/such'"),
        (("trace",), "ConfigurationError: "),
        (("findings",), "ConfigurationError: "),
        (("models", "pull", "nothing"), "UnknownModel: "),
    ],
)
def test_a_mistake_is_told_by_type_with_status_1(arguments: tuple[str, ...], says: str) -> None:
    """Before any server is started, and without a traceback."""
    done = antiphon(*arguments)
    assert done.exit_code == 1
    assert says in done.stderr.replace("\n", " ")
    assert done.stdout == ""


def test_errors_are_json_where_json_was_asked_for() -> None:
    """On standard output, so that a script reads one stream."""
    done = antiphon("submit", "writer.write", "{", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["type"] == "InvalidMessage"


def test_a_bad_setting_ends_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable and the accepted form."""
    monkeypatch.setenv("ANTIPHON_TRACE", "lots")
    done = antiphon("models", "list")
    assert done.exit_code == 1
    assert "ANTIPHON_TRACE is 'lots', expected a number from 0 to 1" in done.stderr


def test_the_body_may_come_from_standard_input() -> None:
    """A dash reads it; what is wrong with it is said the same way."""
    done = antiphon("ask", "writer.write", "-", stdin="not json")
    assert "the message is not JSON" in done.stderr


def test_a_password_becomes_what_the_settings_take() -> None:
    """From a pipe, one line; short ones are refused, and none is repeated in an answer."""
    done = antiphon("password", stdin="a fairly long password\n")
    assert matches("a fairly long password", done.stdout.strip())
    for short in ("", "elevenchars"):
        refused = antiphon("password", stdin=short)
        assert refused.exit_code == 1 and refused.stdout == ""
        assert f"has {len(short)} characters, expected 12" in refused.stderr
        assert not short or short not in refused.stderr


def test_a_console_that_would_be_open_does_not_start() -> None:
    """Before a server is started or a store opened."""
    done = antiphon("up", "--host", "0.0.0.0")
    assert done.exit_code == 1
    assert "is open to other machines" in done.stderr and "console_passwords" in done.stderr
