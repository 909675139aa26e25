"""Settings: sources, precedence, forms of models, and errors that name the variable or key."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.setting import BusSetting, LocalSetting, OpenAISetting
from antiphon.runtime.passwords import decoy
from antiphon.runtime.settings import Settings, load_settings

KEPT = f"scrypt:{'A' * 22}:{'A' * 43}"  # nobody's password, and the same in every process of the tests


def load(tmp_path: Path, file: str = "", **variables: str) -> Settings:
    """Settings from a file in the working directory and ``ANTIPHON_`` variables, with a home of their own."""
    if file:
        (tmp_path / "antiphon.toml").write_text(file)
    environ = {f"ANTIPHON_{key}": value for key, value in variables.items()}
    return load_settings({"ANTIPHON_HOME": str(tmp_path / "home"), **environ}, tmp_path)


def test_defaults(tmp_path: Path) -> None:
    """Nothing needs to be set: two built-in local models, everything under the home folder."""
    settings = load(tmp_path)
    assert settings.models == {name: LocalSetting(path=name) for name in ("smollm2-135m", "all-minilm-l6-v2")}
    assert settings.default_model == "smollm2-135m"
    assert settings.models_dir == tmp_path / "home" / "models"
    assert settings.store_path.parent == tmp_path / "home"
    assert (settings.nats_url, settings.trace, settings.tenant) == (None, 1.0, "default")


def test_home_defaults_to_the_users_data_folder(tmp_path: Path) -> None:
    """Without ANTIPHON_HOME the platform's folder for user data is taken, and nothing is created there."""
    assert load_settings({}, tmp_path).home.name == "antiphon"


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    """The environment is nearer than the file; what it does not name comes from the file."""
    settings = load(tmp_path, 'trace = 0.5\ntenant = "from-file"\n', TENANT="from-variable")
    assert (settings.trace, settings.tenant) == (0.5, "from-variable")


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    """``ANTIPHON_TRACE=`` as compose files write it leaves the default."""
    assert load(tmp_path, TRACE="").trace == 1.0


def test_the_file_in_home_is_read_when_the_working_directory_has_none(tmp_path: Path) -> None:
    """A user's own file in the home folder holds wherever a command is run."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "antiphon.toml").write_text("console_port = 9000\n")
    assert load(tmp_path).console_port == 9000


def test_home_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    """A relative home in a project's file does not depend on anything but the file's place."""
    (tmp_path / "antiphon.toml").write_text('home = "data"\n')
    assert load_settings({}, tmp_path).home == tmp_path / "data"


def test_models_have_short_and_long_forms(tmp_path: Path) -> None:
    """A string or a table; paths are relative to the file; the built-in models stay."""
    settings = load(
        tmp_path,
        """
        [models]
        small = "./checkpoints/small"
        pulled = "hf:org/name"
        remote = "http://localhost:11434/v1#llama3.2"
        shared = "bus"
        [models.keyed]
        kind = "openai"
        base_url = "https://models.example/v1"
        model = "large"
        api_key_env = "LARGE_KEY"
        [models.tuned]
        path = "~/tuned"
        threads = 2
        """,
    )
    assert settings.models == {
        "smollm2-135m": LocalSetting(path="smollm2-135m"),
        "all-minilm-l6-v2": LocalSetting(path="all-minilm-l6-v2"),
        "small": LocalSetting(path=str(tmp_path / "checkpoints/small")),
        "pulled": LocalSetting(path="hf:org/name"),
        "remote": OpenAISetting(base_url="http://localhost:11434/v1", model="llama3.2"),
        "shared": BusSetting(),
        "keyed": OpenAISetting(base_url="https://models.example/v1", model="large", api_key_env="LARGE_KEY"),
        "tuned": LocalSetting(path=str(Path.home() / "tuned"), threads=2),
    }


def test_models_of_the_variable_join_those_of_the_file(tmp_path: Path) -> None:
    """ANTIPHON_MODELS is the same as JSON, and wins name by name."""
    settings = load(tmp_path, '[models]\na = "bus"\nb = "bus"\n', MODELS='{"b": "http://h/v1#m"}')
    assert settings.models["a"] == BusSetting()
    assert settings.models["b"] == OpenAISetting(base_url="http://h/v1", model="m")


def test_models_of_a_system_do_not_replace_those_of_the_settings(tmp_path: Path) -> None:
    """What the user set wins over what the code suggests."""
    settings = load(tmp_path, '[models]\na = "bus"\n').with_models({"a": "http://h/v1#m", "b": "./here"})
    assert settings.models["a"] == BusSetting()
    assert settings.models["b"] == LocalSetting(path="./here")
    with pytest.raises(ConfigurationError, match=r"big is 'http://h/v1'.*names no model"):
        settings.with_models({"big": "http://h/v1"})


def test_an_api_key_is_read_from_the_variable_the_file_names(tmp_path: Path) -> None:
    """The key is in the environment only, hidden in repr, and asked for by name when it is missing."""
    (tmp_path / "antiphon.toml").write_text(
        '[models.big]\nkind = "openai"\nbase_url = "https://h/v1"\nmodel = "m"\napi_key_env = "BIG_KEY"\n'
    )
    settings = load_settings({"BIG_KEY": "s3cret", "ANTIPHON_NATS_TOKEN": "t0ken"}, tmp_path)
    big = settings.models["big"]
    assert isinstance(big, OpenAISetting)
    key = settings.api_key(big)
    assert key is not None
    assert key.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)
    assert "t0ken" not in repr(settings)
    with pytest.raises(ConfigurationError, match="BIG_KEY, which is not set"):
        load_settings({}, tmp_path).api_key(big)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("TRACE", "often", "ANTIPHON_TRACE is 'often', expected a number from 0 to 1"),
        ("TRACE", "1.5", "expected a number from 0 to 1"),
        ("NATS_URL", "localhost:4222", "ANTIPHON_NATS_URL is 'localhost:4222', expected nats://HOST:PORT"),
        ("NATS_URL", "http://me:pw@host", "'http://…@host'"),
        ("TENANT", "Two Words", "ANTIPHON_TENANT is 'Two Words', expected 1 to 64 characters"),
        ("CONSOLE_PORT", "70000", "expected a whole number from 0 to 65535"),
        ("LOG_LEVEL", "loud", "expected debug, info, warning or error"),
        ("CAPTURE_CONTENT", "perhaps", "expected true or false"),
        ("RETENTION_DAYS", "0", "expected a number above 0"),
        ("DEFAULT_MODEL", "My Model", "expected a name of a-z"),
        ("MODELS", "big", "ANTIPHON_MODELS is 'big', expected a JSON object"),
        ("MODELS", '{"Big": "bus"}', "ANTIPHON_MODELS: Big is 'Big' \\(model name 'Big'"),
        ("MODELS", '{"big": "https://h/v1"}', "ANTIPHON_MODELS: big is 'https://h/v1' \\(the URL names no model"),
        ("MODELS", '{"big": "http://h:99999/v1#m"}', "big.base_url is 'http://h:99999/v1' .Port out of range"),
        ("MODELS", '{"big": "http:///v1#m"}', "big.base_url is 'http:///v1' .expected http://HOST:PORT/v1"),
        ("MODELS", '{"big": {"kind": "magic"}}', "big is .*'local', 'openai', 'bus'.*expected a table with kind"),
        ("MODELS", '{"big": {"path": "x", "threads": 0}}', "big.threads is 0 .*greater than or equal to 1"),
        ("MODELS", '{"big": 7}', "ANTIPHON_MODELS: big is 7 .*expected a table"),
    ],
)
def test_a_bad_variable_is_named(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    """The message has the variable, what it holds (without credentials) and the accepted form."""
    with pytest.raises(ConfigurationError, match=expected) as raised:
        load(tmp_path, **{variable: value})
    assert "pw@" not in str(raised.value)
    assert "pydantic" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("trace = true\nloud = 1\n", "antiphon.toml sets 'loud', expected one of apply, capture_content"),
        ("trace = \n", "antiphon.toml cannot be read .*expected a TOML file"),
        ("tenant = 7\n", "tenant in .*antiphon.toml is 7, expected 1 to 64 characters"),
        ("nats_token = 7\n", "nats_token in .*antiphon.toml is something else, expected text"),
        ("models = 3\n", "models in .*antiphon.toml is 3, expected models by name"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, file: str, expected: str) -> None:
    """The message has the file, the key, what it holds and the accepted form."""
    with pytest.raises(ConfigurationError, match=expected):
        load(tmp_path, file)


def test_settings_import_nothing_heavy() -> None:
    """Every process imports this module, so on top of the public names it costs nothing of others'."""
    code = (
        "import sys\n"
        "from antiphon import Agent, Context, Message, System, tool\n"
        "before = set(sys.modules)\n"
        "import antiphon.runtime.settings\n"
        "print([name for name in set(sys.modules) - before if name.split('.')[0] not in ('antiphon', 'tomllib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"


def test_who_may_use_the_http_door(tmp_path: Path) -> None:
    """Tokens by caller and origins, in the file or as JSON in a variable, which replaces those of the file."""
    file = 'http_origins = ["https://a.example.org"]\n[http_tokens]\nweb = "web-0123456789abcdef"\n'
    settings = load(tmp_path, file)
    assert {name: token.get_secret_value() for name, token in settings.http_tokens.items()} == {
        "web": "web-0123456789abcdef"
    }
    assert settings.http_origins == ("https://a.example.org",)
    changed = load(tmp_path, HTTP_TOKENS='{"shop": "shop-0123456789abcdef"}', HTTP_ORIGINS='["http://localhost:8000"]')
    assert set(changed.http_tokens) == {"shop"}
    assert changed.http_origins == ("http://localhost:8000",)
    assert "0123456789" not in repr(changed)


@pytest.mark.parametrize(
    "tokens",
    [
        "web-0123456789abcdef",
        "[]",
        '{"web": "short"}',
        '{"Web!": "web-0123456789abcdef"}',
        '{"web": "same-0123456789abc", "shop": "same-0123456789abc"}',
    ],
)
def test_tokens_that_cannot_be_are_named_but_not_shown(tmp_path: Path, tokens: str) -> None:
    """The variable and what is accepted; never the tokens."""
    with pytest.raises(ConfigurationError, match="ANTIPHON_HTTP_TOKENS is something else, expected tokens of") as found:
        load(tmp_path, HTTP_TOKENS=tokens)
    assert "0123456789" not in str(found.value)


@pytest.mark.parametrize(
    "origins", ["https://a.example.org", '["*"]', '["a.example.org"]', '["https://a.example.org/"]']
)
def test_origins_that_cannot_be(tmp_path: Path, origins: str) -> None:
    """An origin is a scheme and a host; there is no wildcard."""
    with pytest.raises(ConfigurationError, match="expected a list of origins such as"):
        load(tmp_path, HTTP_ORIGINS=origins)


def test_the_console_is_opened_by_settings(tmp_path: Path) -> None:
    """From file and variables; paths are relative to the file, a network may be written as an address."""
    kept = decoy()
    found = load(
        tmp_path,
        f"""
        console_cert = "tls/cert.pem"
        console_names = ["console.example.org", "[2001:db8::1]"]
        [console_passwords]
        ada = "{kept}"
        """,
        CONSOLE_KEY="/etc/tls/key.pem",
        CONSOLE_PROXIES='["10.0.0.0/24", "::1"]',
    )
    assert (found.console_cert, found.console_key) == (tmp_path / "tls/cert.pem", Path("/etc/tls/key.pem"))
    assert found.console_passwords["ada"].get_secret_value() == kept and kept not in repr(found)
    assert [str(each) for each in found.console_proxies] == ["10.0.0.0/24", "::1/128"]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        (
            "CONSOLE_PASSWORDS",
            '{"ada": "hunter2hunter2"}',
            "is something else, expected what `antiphon password` prints",
        ),
        ("CONSOLE_PASSWORDS", "hunter2hunter2", "is something else"),
        ("CONSOLE_PASSWORDS", json.dumps({"owner": KEPT}), "is something else.* not owner"),
        ("CONSOLE_NAMES", '["https://console.example.org"]', "expected a list of names such as console.example.org"),
        ("CONSOLE_NAMES", '["*"]', "expected a list of names"),
        ("CONSOLE_PROXIES", '["proxy.example.org"]', "expected a list of addresses or networks"),
        ("CONSOLE_PROXIES", '["10.0.0.1/24"]', "expected a list of addresses or networks"),
        ("CONSOLE_PROXY_HEADER", "X User", "expected a header such as"),
    ],
)
def test_what_cannot_open_the_console_is_said(tmp_path: Path, variable: str, value: str, says: str) -> None:
    """With the accepted form, and never with the password that somebody wrote down as they type it."""
    with pytest.raises(ConfigurationError, match=f"ANTIPHON_{variable} .*{says}") as caught:
        load(tmp_path, **{variable: value})
    assert "hunter2" not in str(caught.value)
